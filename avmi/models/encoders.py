"""{view: tensor} → {view: embedding}: separate encoders for each kind of view."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avmi.config.parts import Backbone, Head
from avmi.config.parts import Encoders as EncoderSettings
from avmi.config.views import FeatureView, FrameView, View
from avmi.models.backbones import build_backbone
from avmi.models.heads import ProjectionHead

# Mean and standard deviation of RGB over ImageNet; torchvision's weights expect them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class LogMelStatistics:
    """Mean and standard deviation of the corpus's log-mel values (natural logarithm of power)."""

    mean: float
    std: float


class Encoder(nn.Module):
    """Constants of the preprocessing, a backbone and a head, for one kind of view."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, settings: Backbone, head: Head, *, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.backbone = build_backbone(settings, channels_in=len(mean))
        self.head = ProjectionHead(self.backbone.feature_dim, head)

    @property
    def feature_dim(self) -> int:
        """Length of the backbone's output."""
        return self.backbone.feature_dim

    def features(self, x: Tensor) -> Float[Tensor, "batch feature"]:
        """Normalize a batch of views as `avmi.views` makes them and run the backbone."""
        scale = 255.0 if x.dtype == torch.uint8 else 1.0
        normalized = (x.float() / scale - self.mean) / self.std
        features: Tensor = self.backbone(normalized)
        return features

    def forward(self, x: Tensor) -> Float[Tensor, "batch dim"]:
        """Embed a batch of views."""
        embedding: Tensor = self.head(self.features(x))
        return embedding


class Encoders(nn.Module):
    """One encoder per kind of view: stills, stacks of k pictures, sounds."""

    def __init__(
        self, views: Mapping[str, View], settings: EncoderSettings, *, log_mel: LogMelStatistics
    ) -> None:
        super().__init__()
        signals = {n: v for n, v in views.items() if not isinstance(v, FeatureView)}
        self.encoder_of = {name: view.encoder for name, view in signals.items()}
        self.by_name = nn.ModuleDict()
        for view in signals.values():
            if view.encoder in self.by_name:
                continue
            if isinstance(view, FrameView):
                mean, std = IMAGENET_MEAN * view.frames, IMAGENET_STD * view.frames
                encoder = Encoder(settings.image, settings.head, mean=mean, std=std)
            else:
                encoder = Encoder(settings.audio, settings.head, mean=(log_mel.mean,), std=(log_mel.std,))
            self.by_name[view.encoder] = encoder

    def encoder(self, view: str) -> Encoder:
        """Give the encoder of a view."""
        encoder = self.by_name[self.encoder_of[view]]
        assert isinstance(encoder, Encoder)
        return encoder

    def forward(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embed every view; views of one encoder and one shape share a forward pass."""
        together: dict[tuple[str, torch.Size], list[str]] = {}
        for name, tensor in views.items():
            together.setdefault((self.encoder_of[name], tensor.shape[1:]), []).append(name)
        embeddings: dict[str, Tensor] = {}
        for names in together.values():
            joined = torch.cat([views[name] for name in names]) if len(names) > 1 else views[names[0]]
            parts = self.encoder(names[0])(joined).split([len(views[name]) for name in names])
            embeddings.update(zip(names, parts, strict=True))
        return {name: embeddings[name] for name in views}
