"""YAML → typed view pairs: whose MI is bounded, with which weight, bound, temperature, places and negatives."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from avmi.config.base import Settings
from avmi.config.bounds import PairBound
from avmi.config.parts import Temperature

PoolName = Literal["other_videos", "same_video"]
PlaceScoring = Literal["mean", "max", "attention"]

# Nearer moments of one video look and sound alike; the synchrony protocol keeps as much between candidates.
LEAST_GAP_SECONDS = 0.25


class NegativePool(Settings):
    """Where negatives come from; each pool of a pair is a term of its own. The name alone will do."""

    NAME_ALONE: ClassVar[str] = "pool"

    pool: PoolName = Field(
        description="other_videos: clips of other videos (scenes); same_video: other seconds of the same video "
        "(moments), which data.clips_per_video must provide."
    )
    weight: float = Field(
        default=1.0, gt=0, description="Share of this pool in the pair's term, relative to its other pools."
    )
    count: int | None = Field(
        default=None,
        ge=1,
        description="Negatives of each clip, spread evenly over its video; empty takes all of the batch "
        "(same_video only).",
    )
    least_gap_seconds: float | None = Field(
        default=None,
        ge=0,
        le=3600,
        description="Moments nearer than this are no negatives, in seconds; empty: 0.25 (same_video only).",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: object) -> object:
        return {cls.NAME_ALONE: value} if isinstance(value, str) else value

    @property
    def is_independent(self) -> bool:
        """Say whether these negatives are draws of the marginal: other moments of a video are not."""
        return self.pool == "other_videos"

    @property
    def gap_seconds(self) -> float:
        """Moments of one video nearer than this are no negatives of each other, in seconds."""
        return LEAST_GAP_SECONDS if self.least_gap_seconds is None else self.least_gap_seconds

    @model_validator(mode="after")
    def _moments_only(self) -> "NegativePool":
        if self.pool == "other_videos" and (self.count is not None or self.least_gap_seconds is not None):
            raise ValueError("count and least_gap_seconds are for same_video; other_videos takes every clip")
        return self


OTHER_VIDEOS = NegativePool(pool="other_videos")


class PairSettings(Settings):
    """One view pair whose mutual information is bounded."""

    views: tuple[str, str] = Field(description="Names of the two views.")
    weight: float = Field(
        default=1.0, gt=0, description="Weight of the pair's term in the loss; 1 treats all alike."
    )
    bound: PairBound | None = Field(
        default=None, description="Bound of this pair; empty takes the one at the top of the file."
    )
    temperature: Temperature | None = Field(
        default=None, description="A temperature of its own; empty shares the one at the top of the file."
    )
    places: PlaceScoring | None = Field(
        default=None,
        description="Scoring over places of this pair; empty takes the one at the top of the file.",
    )
    negatives: tuple[NegativePool, ...] | None = Field(
        default=None,
        min_length=1,
        description="Negatives of this pair; empty takes those at the top of the file.",
    )
