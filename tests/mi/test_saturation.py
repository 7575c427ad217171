"""Bounds near their ceilings, against what doubling K really gives."""

import math

import pytest
import torch

from avmi.mi.bounds import cosine_ceiling_nats, info_nce
from avmi.mi.saturation import saturated_shortfall_nats, saturation


def doubled(k: int, negative: float) -> float:
    """What InfoNCE gains from 2K instead of K when every negative scores `negative` below the positive."""

    def value(n: int) -> float:
        scores = torch.full((n, n), -negative, dtype=torch.float64).fill_diagonal_(0.0)
        return float(info_nce(scores).value_nats)

    return value(2 * k) - value(k)


@pytest.mark.parametrize("k", [2, 3, 8, 64, 300])
def test_at_the_shortfall_doubling_k_gives_half_of_log_2(k: int) -> None:
    # Loss log(1 + (K − 1)·exp(−negative)) is the shortfall.
    negative = -math.log(math.expm1(saturated_shortfall_nats(k)) / (k - 1))
    assert doubled(k, negative) == pytest.approx(math.log(2) / 2, abs=1e-9)
    assert doubled(k, negative + 0.2) > math.log(2) / 2 > doubled(k, negative - 0.2)


def test_the_shortfall_of_many_is_that_of_the_limit() -> None:
    assert saturated_shortfall_nats(1e9) == pytest.approx(math.log(1 + 1 / math.sqrt(2)), abs=1e-6)
    assert saturated_shortfall_nats(1.0) == 0.0


def judged(bound: float, *, k: int = 64, temperature: float = 0.07, error: float = 0.0) -> str | None:
    return saturation(
        bound,
        ceiling_nats=math.log(k),
        cosine_ceiling_nats=cosine_ceiling_nats(k, temperature),
        standard_error_nats=error,
        k=k,
    )


def test_a_bound_near_log_k_wants_more_k_only_beyond_its_error() -> None:
    assert judged(math.log(64) - 0.5) == "raise K"
    assert judged(math.log(64) - 0.55) is None
    assert judged(math.log(64) - 0.4, error=0.05) == "raise K"
    assert judged(math.log(64) - 0.4, error=0.1) is None


def test_a_bound_that_a_high_temperature_holds_down_wants_a_lower_one() -> None:
    ceiling = cosine_ceiling_nats(64, 1.0)
    assert judged(0.9 * ceiling, temperature=1.0) == "lower the temperature"
    assert judged(0.3 * ceiling, temperature=1.0) is None  # the encoders have not come far
    assert judged(0.9 * ceiling, temperature=1.0, error=0.5) is None
    assert judged(2.0) is None  # at 0.07 cosines can say all of log K


def test_without_a_ceiling_or_an_error_nothing_is_saturated() -> None:
    assert (
        saturation(9.0, ceiling_nats=math.inf, cosine_ceiling_nats=math.inf, standard_error_nats=0.1, k=64)
        is None
    )
    assert judged(4.1, error=math.nan) is None
    assert saturation(0.0, ceiling_nats=0.0, cosine_ceiling_nats=0.0, standard_error_nats=0.1, k=1) is None
