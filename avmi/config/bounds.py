"""YAML → the bound of a view pair: its name, with the numbers that some bounds have; knows no torch."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from avmi.config.base import Settings

BoundName = Literal[
    "info_nce",
    "info_nce_rows",
    "info_nce_columns",
    "donsker_varadhan",
    "nwj",
    "tuba",
    "leave_one_out_lower",
    "jensen_shannon",
    "interpolated",
    "smile",
    "sigmoid",
]

# Poole et al. 2019 draw I_α at 0.01 to 0.99; at 0.5 the ceiling stands 0.7 nat above InfoNCE's.
ALPHA = 0.5
# Song & Ermon 2020 report 1, 5 and 10; at 5 the clip leaves scores alone that are right for 5 nats.
CLIP_NATS = 5.0
# Scores of encoders move faster than a running mean follows: same-label retrieval after 100 steps of the quickstart by
# Donsker–Varadhan was 1.00, 0.99 and 0.70 at 0, 0.5 and 0.9 (docs/method.md, Bounds).
DECAY = 0.0

REFUSED = {
    "barber_agakov": "barber_agakov needs the entropy of a view and a decoder of its signal, and a pair has neither; "
    "avmi.mi.barber_agakov takes both where they are known",
    "tractable_nce": "tractable_nce needs the known density of one view given the other, and a pair has scores only; "
    "it acts on a view and its own code, with encoders.head.private_dim",
    "leave_one_out": "leave_one_out is an upper bound for a known density: maximizing it raises nothing of the mutual "
    "information; put it under bottleneck.upper",
    "leave_one_out_upper": "leave_one_out_upper is an upper bound for a known density: maximizing it raises nothing of "
    "the mutual information; put it under bottleneck.upper as leave_one_out",
    "rate": "rate is an upper bound: maximizing it raises nothing of the mutual information; put it under "
    "bottleneck.upper",
    "defensive": "defensive is an upper bound: maximizing it raises nothing of the mutual information; put it under "
    "bottleneck.upper",
    "club": "club is an upper bound where its density is the true one, to be minimized; it keeps private codes apart, "
    "with encoders.head.private_dim",
}
"""Bounds that cannot be the objective of a view pair: why not, and where they belong."""


class PairBound(Settings):
    """Bound on the MI of a view pair. The name alone will do."""

    NAME_ALONE: ClassVar[str] = "name"

    name: BoundName = Field(
        description="info_nce: both ways, at most log K; info_nce_rows, info_nce_columns: one way; donsker_varadhan, "
        "nwj, tuba, leave_one_out_lower: no ceiling, a variance that grows with the MI; interpolated: between tuba "
        "and InfoNCE; jensen_shannon: trains steadily, reports nwj; smile: the same, reports a clipped value that is no bound; sigmoid: "
        "SigLIP's, every two clips by themselves, reports info_nce."
    )
    alpha: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of the batch's own mean in the baseline, without unit: near 1 as InfoNCE, near 0 as tuba; "
        "the ceiling is 1 + log(K/alpha). Empty: 0.5 (interpolated only).",
    )
    clip_nats: float | None = Field(
        default=None,
        gt=0,
        le=50,
        description="Scores in the denominator are clipped to plus or minus this, in nats: less is steadier and more "
        "biased. Empty: 5 (smile only).",
    )
    decay: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Share of the old value that the running mean of the denominator keeps at each batch, without "
        "unit: 0 is the last batch alone, more is steadier and later. Empty: 0 (not for info_nce, leave_one_out_lower and sigmoid, which need none).",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: object) -> object:
        given = {cls.NAME_ALONE: value} if isinstance(value, str) else value
        name = given.get(cls.NAME_ALONE) if isinstance(given, dict) else None
        if isinstance(name, str) and name in REFUSED:
            raise ValueError(REFUSED[name])
        return given

    @model_validator(mode="after")
    def _numbers_of_this_bound(self) -> "PairBound":
        for key, owner in (("alpha", "interpolated"), ("clip_nats", "smile")):
            if getattr(self, key) is not None and self.name != owner:
                raise ValueError(f"{key} is for {owner}, not for {self.name}; remove it")
        if self.decay is not None and self.name.startswith(("info_nce", "leave_one_out", "sigmoid")):
            raise ValueError(
                f"decay is for bounds with a running mean, and {self.name} needs none; remove it"
            )
        return self

    @property
    def is_of_places(self) -> bool:
        """Say whether it takes several positives for each clip: scoring over places by their mean."""
        return self.name == "info_nce"

    @property
    def alpha_or_default(self) -> float:
        """Share of the batch's own mean in the baseline of interpolated."""
        return ALPHA if self.alpha is None else self.alpha

    @property
    def clip_or_default_nats(self) -> float:
        """Clip of smile's denominator, in nats."""
        return CLIP_NATS if self.clip_nats is None else self.clip_nats

    @property
    def decay_or_default(self) -> float:
        """Share of the old value in the running mean of the denominator."""
        return DECAY if self.decay is None else self.decay


INFO_NCE = PairBound(name="info_nce")
