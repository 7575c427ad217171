"""YAML → typed views and view pairs: which signals of a scene are made, and whose MI is bounded."""

from typing import Annotated, Literal

from pydantic import Field

from avmi.config.base import Settings
from avmi.types import Modality

BoundName = Literal["info_nce"]
Negatives = Literal["other_videos", "same_video"]
Augmentation = Literal["none", "light", "strong"]


class FrameView(Settings):
    """One picture of the clip, or a short stack of pictures (motion)."""

    kind: Literal["frame"] = Field(description="A view of the picture.")
    at_seconds: float = Field(
        default=0.0, ge=-3600, le=3600, description="Offset from the clip's anchor, in seconds."
    )
    frames: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Pictures stacked along the channels, centred on at_seconds; 1 is a still.",
    )
    spacing_seconds: float = Field(
        default=0.2, gt=0, le=60, description="Time between stacked pictures, in seconds."
    )
    augment: Augmentation = Field(
        default="none",
        description="Random crop, flip and (strong) colour jitter; 'none' keeps pictures as they are, "
        "which is best for cross-modal pairs of fixed scenes.",
    )

    @property
    def modality(self) -> Modality:
        """A frame view is of the picture."""
        return "image"

    @property
    def encoder(self) -> str:
        """Name of the encoder that embeds this view; stacks of another depth need one of their own."""
        return "image" if self.frames == 1 else f"motion_{self.frames}"

    @property
    def frame_offsets_seconds(self) -> tuple[float, ...]:
        """Offsets of all stacked pictures from the anchor, in seconds, ascending."""
        middle = (self.frames - 1) / 2
        return tuple(self.at_seconds + (i - middle) * self.spacing_seconds for i in range(self.frames))

    @property
    def extent_seconds(self) -> tuple[float, float]:
        """First and last second that the view needs, relative to the anchor."""
        return self.frame_offsets_seconds[0], self.frame_offsets_seconds[-1]


class AudioView(Settings):
    """The log-mel spectrogram of one window of sound."""

    kind: Literal["audio"] = Field(description="A view of the sound.")
    at_seconds: float = Field(
        default=0.0,
        ge=-3600,
        le=3600,
        description="Start of the window, as an offset from the clip's anchor, in seconds.",
    )
    window_seconds: float = Field(
        default=2.0,
        ge=0.1,
        le=60,
        description="Length of the window in seconds; 2 s is what AVID and ImageBind cut.",
    )

    @property
    def modality(self) -> Modality:
        """An audio view is of the sound."""
        return "audio"

    @property
    def encoder(self) -> str:
        """Name of the encoder that embeds this view: one for all sounds."""
        return "audio"

    @property
    def extent_seconds(self) -> tuple[float, float]:
        """First and last second that the view needs, relative to the anchor."""
        return self.at_seconds, self.at_seconds + self.window_seconds


class FeatureView(Settings):
    """Features of another view's encoder, taken at a named layer."""

    kind: Literal["feature"] = Field(description="A view from inside an encoder.")
    of: str = Field(description="Name of the frame or audio view whose encoder is tapped.")
    layer: str = Field(description="Layer of that encoder, for example layer3 or output.")


View = Annotated[FrameView | AudioView | FeatureView, Field(discriminator="kind")]


class PairSettings(Settings):
    """One view pair whose mutual information is bounded."""

    views: tuple[str, str] = Field(description="Names of the two views.")
    weight: float = Field(
        default=1.0, gt=0, description="Weight of the pair's term in the loss; 1 treats all alike."
    )
    bound: BoundName | None = Field(
        default=None, description="Bound of this pair; empty takes the one at the top of the file."
    )
    negatives: tuple[Negatives, ...] | None = Field(
        default=None,
        min_length=1,
        description="Negatives of this pair; empty takes those at the top of the file.",
    )
