"""Visits to videos → batches: views of several clips, joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch import Tensor

from avmi.corpus.manifest import Reject
from avmi.corpus.plan import ClipSpec


@dataclass(frozen=True)
class Sample:
    """The views of one clip."""

    spec: ClipSpec
    video_number: int  # first row of its file in the manifest: intervals and copies of one have it in common
    views: dict[str, Tensor]
    seed: int  # of the augmentation of its views


@dataclass(frozen=True)
class Visit:
    """The clips that one visit to one video gave, and the videos that failed before it."""

    samples: tuple[Sample, ...]
    rejects: tuple[Reject, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Views of several clips; a view holds only the clips that reach it."""

    views: dict[str, Tensor]  # [clips with the view, ...]
    rows: dict[str, Int[Tensor, "_"]]  # which clips of the batch these are
    videos: Int[Tensor, "batch"]  # number of each clip's file, see `Sample`
    seconds: Float32[Tensor, "batch"]  # anchor of each clip in its video; Apple's GPUs have no float64
    specs: tuple[ClipSpec, ...]
    rejects: tuple[Reject, ...] = field(default=())

    def to(self, device: torch.device) -> "Batch":
        """Move the tensors; from pinned memory the copy overlaps with computing."""

        def move(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {n: t.to(device, non_blocking=True) for n, t in tensors.items()}

        return Batch(
            move(self.views),
            move(self.rows),
            self.videos.to(device, non_blocking=True),
            self.seconds.to(device, non_blocking=True),
            self.specs,
            self.rejects,
        )

    def pin_memory(self) -> "Batch":
        """Copy the tensors into memory from which a GPU reads on its own."""
        return Batch(
            {n: t.pin_memory() for n, t in self.views.items()},
            {n: t.pin_memory() for n, t in self.rows.items()},
            self.videos.pin_memory(),
            self.seconds.pin_memory(),
            self.specs,
            self.rejects,
        )


def collate(visits: Sequence[Visit]) -> Batch:
    """Join visits to a batch; a view that a clip does not reach is left out, not filled."""
    samples = [sample for visit in visits for sample in visit.samples]
    rows: dict[str, list[int]] = {}
    for row, sample in enumerate(samples):
        for name in sample.views:
            rows.setdefault(name, []).append(row)
    return Batch(
        views={n: _stacked([samples[row].views[n] for row in r]) for n, r in rows.items()},
        rows={n: torch.tensor(r) for n, r in rows.items()},
        videos=torch.tensor([sample.video_number for sample in samples], dtype=torch.long),
        seconds=torch.tensor([sample.spec.anchor_seconds for sample in samples], dtype=torch.float32),
        specs=tuple(sample.spec for sample in samples),
        rejects=tuple(reject for visit in visits for reject in visit.rejects),
    )


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    # By numpy: torch would open a second team of threads for the thread that collates, beside the model's.
    return torch.from_numpy(np.stack([tensor.numpy() for tensor in tensors]))
