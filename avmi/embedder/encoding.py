"""A checkpoint → its encoders on a device: tensors of a view in, vectors out."""

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from avmi.checkpoint import Checkpoint
from avmi.config.views import AudioView, FrameView
from avmi.corpus.plan import SignalView
from avmi.embedder.vectors import Output
from avmi.errors import InputError
from avmi.views.graph import graph_of

BATCH = 64  # pictures or windows in one forward pass


class Encoding:
    """Encoders of a checkpoint, and the names of the views that pictures and sounds are embedded as."""

    def __init__(self, checkpoint: Checkpoint, *, device: torch.device | str | None = None) -> None:
        default = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(default if device is None else device)
        self.checkpoint, self.config = checkpoint, checkpoint.config
        self.encoders = checkpoint.encoders.to(self.device).eval()
        self.graph = graph_of(self.config)

    @property
    def image_view(self) -> str:
        """Name of the view that pictures are embedded as; `InputError` when the model has none."""
        return self._view(0, FrameView, "picture")

    @property
    def audio_view(self) -> str:
        """Name of the view that sounds are embedded as; `InputError` when the model has none."""
        return self._view(1, AudioView, "sound")

    @property
    def retrieval_views(self) -> tuple[str, str]:
        """Names of the image view and the audio view."""
        return self.image_view, self.audio_view

    def _view(self, side: Literal[0, 1], kind: type[FrameView] | type[AudioView], what: str) -> str:
        """Take the view of the pair that retrieval embeds; of models of one side, the first view."""
        if self.graph.retrieval_views is not None:
            return self.graph.retrieval_views[side]
        names = [name for name, view in self.graph.signals.items() if isinstance(view, kind)]
        if not names:
            raise InputError(
                f"{self.checkpoint.folder} was trained without a view of one {what}: use a checkpoint that has one"
            )
        return names[0]

    def signal(self, view: str) -> SignalView:
        """Give a frame or audio view by name, without augmentation."""
        settings = self.config.views[view]
        assert isinstance(settings, (FrameView, AudioView))
        return settings.unaugmented

    @torch.no_grad()  # not inference mode: users train on what comes out
    def run(self, view: str, tensors: Iterable[Tensor], *, output: Output) -> Float[Tensor, "rows dim"]:
        """Encode tensors of a view, a batch at a time."""
        encoder = self.encoders.encoder(view)
        parts, waiting = [torch.empty(0, self.dim(view, output))], list[Tensor]()

        def flush() -> None:
            joined = torch.stack(waiting).to(self.device)
            out = encoder(joined) if output == "embedding" else encoder.features(joined)
            parts.append(out.float().cpu())
            waiting.clear()

        for tensor in tensors:
            waiting.append(tensor)
            if len(waiting) == BATCH:
                flush()
        if waiting:
            flush()
        return torch.cat(parts)

    def dim(self, view: str, output: Output) -> int:
        """Give the length of a vector of a view."""
        feature_dim = self.encoders.encoder(view).feature_dim
        return self.config.encoders.head.embedding_dim if output == "embedding" else feature_dim
