"""{view: tensor} → {view: embedding}: encoders by name, and heads for the views inside them."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avmi.config.backbones import backbone_of
from avmi.config.layers import LAYERS
from avmi.config.parts import Backbone, Head
from avmi.config.parts import Encoders as EncoderSettings
from avmi.config.views import AudioView, FeatureView, FrameView, View
from avmi.errors import ConfigError
from avmi.models.backbones import build_backbone
from avmi.models.heads import AnyHead, build_head
from avmi.models.preprocessing import LogMelStatistics, channels_of, constants, encoder_input
from avmi.models.taps import Tapped, places_of, undisturbed

__all__ = ["Encoder", "Encoders", "LogMelStatistics"]

# Every backbone takes an input of this many places along each side; the least that ConvNeXt takes.
SMALLEST_SIDE = 32


class Encoder(nn.Module):
    """Constants of the preprocessing, a backbone and a head, for views that enter it alike."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, view: FrameView | AudioView, settings: Backbone, head: Head, *, log_mel: LogMelStatistics
    ) -> None:
        super().__init__()
        self.view, self.backbone_name = view, settings.name
        mean, std = constants(view, settings, log_mel=log_mel)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.backbone = build_backbone(settings, channels_in=channels_of(view))
        self.head: AnyHead = build_head(self.backbone.feature_dim, head)

    @property
    def feature_dim(self) -> int:
        """Length of the backbone's output."""
        return self.backbone.feature_dim

    def tap(self, x: Tensor, layers: Collection[str]) -> Tapped:
        """Prepare a batch of views as `avmi.views` makes them, run the backbone, and keep layers' maps."""
        return self.backbone.tap(encoder_input(x, self.view, mean=self.mean, std=self.std), layers)

    def features(self, x: Tensor) -> Float[Tensor, "batch feature"]:
        """Give the backbone's output for a batch of views."""
        return self.tap(x, ()).feature

    def forward(self, x: Tensor) -> Float[Tensor, "batch dim"]:
        """Embed a batch of views."""
        return self.head.embed(self.features(x))


class Encoders(nn.Module):
    """One encoder for each name that frame and audio views give, one head for each feature view.

    `encoder_of` maps frame and audio views to their encoders' names, `signal_of` every view to the frame or
    audio view that is cut for it (most often itself), `feature_views` holds those of kind feature.
    """

    def __init__(
        self, views: Mapping[str, View], settings: EncoderSettings, *, log_mel: LogMelStatistics
    ) -> None:
        super().__init__()
        signals = {n: view for n, view in views.items() if not isinstance(view, FeatureView)}
        self.feature_views = {n: view for n, view in views.items() if isinstance(view, FeatureView)}
        self.encoder_of = {name: view.encoder_name for name, view in signals.items()}
        self.signal_of = {n: view.of if isinstance(view, FeatureView) else n for n, view in views.items()}
        self.by_name = nn.ModuleDict()
        for view in signals.values():
            if view.encoder_name not in self.by_name:
                encoder = Encoder(view, backbone_of(view, settings), settings.head, log_mel=log_mel)
                _add(self.by_name, view.encoder_name, encoder)
        self.feature_heads = nn.ModuleDict()
        for name, feature in self.feature_views.items():
            dim = _channels(name, feature, self.encoder(feature.of))
            _add(self.feature_heads, name, build_head(dim, settings.head))

    def encoder(self, view: str) -> Encoder:
        """Give the encoder that a view of any kind enters."""
        encoder = self.by_name[self.encoder_of[self.signal_of[view]]]
        assert isinstance(encoder, Encoder)
        return encoder

    @property
    def log_mel(self) -> LogMelStatistics:
        """Statistics that sounds are normalized by, as the weights hold them; 0 and 1 without sounds."""
        for encoder in self.by_name.values():
            if isinstance(encoder, Encoder) and isinstance(encoder.view, AudioView):
                return LogMelStatistics(float(encoder.mean), float(encoder.std))
        return LogMelStatistics(0.0, 1.0)

    def forward(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embed frame and audio views, and the feature views inside them.

        The views given come first, in their order. A feature view is `batch dim` at output and
        `batch *grid dim` at any other layer: rows and columns of pictures, frequency and time of sounds,
        time, rows and columns of video networks. Views of one encoder and one shape share a pass. The embedding of
        a stochastic head is its mean, brought to length one, in training mode, too (see `TrainingPass`).
        """
        embeddings: dict[str, Tensor] = {}
        for head, parts, features in self.passes(views):
            clips = [len(views[self.signal_of[name]]) for name in parts]
            embeddings |= zip(parts, head.embed(features).split(clips), strict=True)
        return {name: embeddings[name] for name in (*views, *self.feature_views) if name in embeddings}

    def passes(self, views: Mapping[str, Tensor]) -> Iterator[tuple[AnyHead, list[str], Tensor]]:
        """Run the backbones; give every head with its views and their features, joined in that order."""
        for names in self._together({name: tensor.shape[1:] for name, tensor in views.items()}):
            joined = torch.cat([views[name] for name in names]) if len(names) > 1 else views[names[0]]
            encoder, inside = self.encoder(names[0]), self._inside(names)
            tapped = encoder.tap(joined, {view.layer for view in inside.values()})
            yield encoder.head, names, tapped.feature
            clips = [len(views[name]) for name in names]
            for name, view in inside.items():
                part = tapped.at(view.layer).split(clips)[names.index(view.of)]
                head = self.feature_heads[name]
                assert isinstance(head, AnyHead)
                yield head, [name], places_of(part, most=view.grid)

    def grids(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
        """Give the places of every feature view along each side, () when pooled, for views of these shapes.

        `shapes` are those of frame and audio views without the batch. Raises `ConfigError` when a backbone
        cannot take a view of its size. Leaves modes and random state as they were.
        """
        grids: dict[str, tuple[int, ...]] = {}
        with undisturbed(self):
            for names in self._together(shapes):
                encoder, inside = self.encoder(names[0]), self._inside(names)
                x = torch.zeros(1, *shapes[names[0]], device=encoder.mean.device)
                try:
                    tapped = encoder.tap(x, {view.layer for view in inside.values()})
                except (RuntimeError, ValueError) as error:
                    raise ConfigError(_refused(names[0], encoder, shapes[names[0]])) from error
                for name, view in inside.items():
                    grids[name] = tuple(places_of(tapped.at(view.layer), most=view.grid).shape[1:-1])
        return {name: grids[name] for name in self.feature_views if name in grids}

    def _together(self, shapes: Mapping[str, Sequence[int]]) -> Iterator[list[str]]:
        """Group views that can share a pass: of one encoder and one shape."""
        groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
        for name, shape in shapes.items():
            groups.setdefault((self.encoder_of[name], tuple(shape)), []).append(name)
        yield from groups.values()

    def _inside(self, names: Collection[str]) -> dict[str, FeatureView]:
        """Find the feature views of these frame or audio views."""
        return {name: view for name, view in self.feature_views.items() if view.of in names}


def _channels(name: str, view: FeatureView, encoder: Encoder) -> int:
    """Count the channels that a layer gives, by running the encoder once on a small input."""
    layers = LAYERS[encoder.backbone_name]
    if view.layer not in layers:
        raise ConfigError(
            f"views.{name}: the backbone {encoder.backbone_name} has no layer {view.layer}; "
            f"it has {', '.join(layers)}"
        )
    x = torch.zeros(1, encoder.mean.shape[1], SMALLEST_SIDE, SMALLEST_SIDE)
    with undisturbed(encoder):
        return int(encoder.tap(x, (view.layer,)).at(view.layer).shape[1])


def _add(modules: nn.ModuleDict, name: str, module: nn.Module) -> None:
    try:
        modules[name] = module
    except KeyError as error:  # ModuleDict's own attributes, such as train, keys and type
        raise ConfigError(
            f"{name} cannot be the name of an encoder or of a feature view, because PyTorch uses the word "
            f"itself: call it {name}_view"
        ) from error


def _refused(name: str, encoder: Encoder, shape: Sequence[int]) -> str:
    _, rows, columns = shape
    match encoder.view:
        case AudioView():
            size, raised = f"{rows} mel bins × {columns} time bins", "window_seconds or log_mel.mel_bins"
        case FrameView(frames=1):
            size, raised = f"{rows} × {columns} px", "image.size_px"
        case FrameView(frames=frames):
            size, raised = f"{frames} pictures of {rows} × {columns} px", "image.size_px"
    return (
        f"views.{name}: its {size} are too few for the backbone {encoder.backbone_name}; "
        f"raise {raised}, or choose another backbone"
    )
