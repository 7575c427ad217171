"""What to cut of one video → the views of its clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from avmi.corpus.manifest import Manifest
from avmi.corpus.plan import ClipSpec
from avmi.data.batch import Sample
from avmi.data.seeds import stable_seed
from avmi.decode.clip import Decoder, decode_clips
from avmi.errors import DecodeError
from avmi.views.make import ViewMaker
from avmi.views.packed import check_packed


@dataclass(frozen=True)
class Draw:
    """Clips to cut of one video in one visit: all that a worker has to know of the corpus."""

    video_number: int  # see `Sample`
    path: Path
    specs: tuple[ClipSpec, ...]
    seed: int

    @property
    def seeds(self) -> list[int]:
        """The seed of each clip's augmentation."""
        return [stable_seed(self.seed, place) for place in range(len(self.specs))]

    def samples(self, views: Sequence[dict[str, Tensor]]) -> tuple[Sample, ...]:
        """Put the views that were cut to the clips that they are of."""
        return tuple(
            Sample(spec, self.video_number, cut, seed)
            for spec, cut, seed in zip(self.specs, views, self.seeds, strict=True)
        )


@dataclass(frozen=True)
class Cutter:
    """Decodes clips of a manifest's videos and makes their views."""

    manifest: Manifest
    maker: ViewMaker
    decoder: Decoder

    def __post_init__(self) -> None:
        check_packed(
            self.maker.views,
            image=self.maker.image,
            sample_rate_hz=self.maker.sample_rate_hz,
            corpus=self.manifest.corpus,
        )

    def __call__(self, video_number: int, specs: Sequence[ClipSpec], *, seed: int) -> tuple[Sample, ...]:
        """Cut clips of the video of a row; raises `DecodeError` when one of them cannot be read."""
        draw = self.draw(video_number, specs, seed=seed)
        return draw.samples(cut_views(draw, maker=self.maker, decoder=self.decoder))

    def draw(self, video_number: int, specs: Sequence[ClipSpec], *, seed: int) -> Draw:
        """Say what to cut."""
        path = self.manifest.path_of(specs[0].video)
        return Draw(self._first_rows[video_number], path, tuple(specs), seed)

    @cached_property
    def _first_rows(self) -> list[int]:
        """The first row of each row's file."""
        first: dict[str, int] = {}
        return [first.setdefault(video.content_id, row) for row, video in enumerate(self.manifest)]


def cut_views(draw: Draw, *, maker: ViewMaker, decoder: Decoder) -> list[dict[str, Tensor]]:
    """Decode the clips of a draw and make their views; raises `DecodeError` when one cannot be read."""
    try:
        clips = decode_clips(
            draw.specs,
            draw.path,
            decoder=decoder,
            sample_rate_hz=maker.sample_rate_hz,
            short_side_px=maker.short_side_px,
        )
        return [maker(clip, seed=seed) for clip, seed in zip(clips, draw.seeds, strict=True)]
    except MemoryError as error:  # a damaged header may ask for any number of bytes
        raise DecodeError(
            f"{draw.path} asked for more memory than there is ({error})", reason="memory"
        ) from error
