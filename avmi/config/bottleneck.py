"""YAML → an upper bound on what codes hold of their views, and its weight at a step; knows no torch."""

from typing import Literal

from pydantic import Field, model_validator

from avmi.config.base import Settings

UpperName = Literal["defensive", "rate", "leave_one_out"]

# A tenth for r(z) costs the bound at most 0.11 nat against leave-one-out, and 2.3 nats against the rate.
EPSILON = 0.1
# Enough to follow a marginal of several scenes; its cost is clips x components x dimensions.
MIXTURE = 16

# Densities of narrow posteriors have gradients far above those of cosines: at 1 they kept the pairs from learning at all,
# at 0.1 they cost them 0.2 nats of 3.1 (docs/method.md).
PRIVATE_WEIGHT = 0.1


class Bottleneck(Settings):
    """Information bottleneck: beta times an upper bound on I(x; z) of every view is added to the loss."""

    upper: UpperName = Field(
        default="defensive",
        description="defensive: the batch's posteriors and a learned r(z), steady and close; rate: r(z) alone, the "
        "KL divergence of VIB; leave_one_out: the batch alone, unstable where posteriors are narrow.",
    )
    beta: float = Field(
        default=0.001,
        gt=0,
        le=100,
        description="Nats of the loss for one nat of the upper bound (VIB: 0.0001 to 0.1); more keeps less.",
    )
    warmup_fraction: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Share of the steps over which beta rises from 0 in a straight line, so that codes are not "
        "pressed empty before the pairs have taught them anything.",
    )
    epsilon: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of r(z) in the denominator, without unit: the bound is at most the rate + log 1/epsilon "
        "and at most leave-one-out + log 1/(1-epsilon). Empty: 0.1 (defensive only).",
    )
    mixture: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Gaussians that the learned r(z) is a mixture of. Empty: 16 (defensive and rate).",
    )

    @model_validator(mode="after")
    def _numbers_of_this_bound(self) -> "Bottleneck":
        if self.epsilon is not None and self.upper != "defensive":
            raise ValueError(f"epsilon is for defensive, not for {self.upper}; remove it")
        if self.mixture is not None and self.upper == "leave_one_out":
            raise ValueError("mixture is for defensive and rate; leave_one_out has no r(z); remove it")
        return self

    @property
    def epsilon_or_default(self) -> float:
        """Share of r(z) in the denominator."""
        return EPSILON if self.epsilon is None else self.epsilon

    @property
    def components(self) -> int:
        """Gaussians in r(z)."""
        return MIXTURE if self.mixture is None else self.mixture

    def beta_at(self, progress: float) -> float:
        """Give the weight when this share of the steps is done; training counts the step itself, so it is never 0."""
        return self.beta * warmed_up(progress, self.warmup_fraction)


class Private(Settings):
    """What makes the private part of a code hold what its view has and the other view has not."""

    informative: float = Field(
        default=PRIVATE_WEIGHT,
        ge=0,
        le=100,
        description="Weight of the lower bound on I(x; private), which keeps the private part full, without unit.",
    )
    apart: float = Field(
        default=PRIVATE_WEIGHT,
        ge=0,
        le=100,
        description="Weight of the estimate of I(private; other view's code), which is minimized, without unit.",
    )
    warmup_fraction: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Share of the steps over which the weight `apart` rises from 0 in a straight line, while the "
        "densities it is read from are still learning.",
    )
    density_steps: int = Field(
        default=3,
        ge=1,
        le=100,
        description="Steps of the learned densities q(private | other code) for each step of the encoders; CLUB "
        "takes several, because the estimate is only as good as q.",
    )
    density_learning_rate: float = Field(
        default=1e-3, gt=0, le=1, description="Learning rate of these densities (Adam), without unit."
    )
    density_hidden: int = Field(
        default=128, ge=1, le=8192, description="Width of their one hidden layer, in values."
    )

    def apart_at(self, progress: float) -> float:
        """Give the weight `apart` when this share of the steps is done."""
        return self.apart * warmed_up(progress, self.warmup_fraction)


def warmed_up(progress: float, warmup_fraction: float) -> float:
    """Rise from 0 to 1 in a straight line over the first `warmup_fraction` of the steps."""
    return 1.0 if progress >= warmup_fraction else progress / warmup_fraction
