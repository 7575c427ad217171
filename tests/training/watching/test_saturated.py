"""Records with bounds near their ceilings → words, warnings, and a line for each term."""

import math

import pytest

from avmi.training.watching.saturated import SaturatedTerms, remedies, remedy_of, terms_as_text


def record() -> dict[str, float]:
    numbers = {
        "low~sound": (2.0, math.log(64), math.log(64), 64.0),
        "near~sound": (4.0, math.log(64), math.log(64), 64.0),
        "near~sound@same_video": (2.1, math.log(9), math.log(9), 9.0),
        "warm~sound": (0.9, math.log(64), 0.97, 64.0),
    }
    scalars = {"loss": 1.0}
    for name, (bound, ceiling, cosine, k) in numbers.items():
        scalars |= {
            f"bound_nats/{name}": bound,
            f"ceiling_nats/{name}": ceiling,
            f"cosine_ceiling_nats/{name}": cosine,
            f"k_effective/{name}": k,
            f"standard_error_nats/{name}": 0.02,
            f"temperature/{name}": 0.07,
        }
    return scalars


def test_saturated_terms_come_with_what_would_raise_them() -> None:
    assert remedies(record()) == {
        "near~sound": "raise K",
        "near~sound@same_video": "raise K",
        "warm~sound": "lower the temperature",
    }


def test_a_record_without_the_numbers_says_nothing() -> None:
    assert remedy_of({"bound_nats/a~b": 4.0, "ceiling_nats/a~b": 4.1}, "a~b") is None
    assert remedies({"loss": 1.0, "bound_nats": 3.0}) == {}


def test_every_term_is_warned_of_once_with_its_numbers_and_the_setting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    terms = SaturatedTerms()
    terms.check(10, record())
    terms.check(20, record())
    messages = [r.getMessage() for r in caplog.records]
    assert len(messages) == 3
    near, same, warm = messages
    assert near.startswith("near~sound is saturated: raise K (step 10: 4.00 ± 0.02 nats, log K 4.16")
    assert "data.batch_clips" in near
    assert "data.clips_per_video" in same
    assert "temperature.initial" in warm


def test_the_lines_say_saturated_and_the_lower_ceiling() -> None:
    assert terms_as_text(record()) == [
        "low~sound: 2.000 nats of at most 4.159",
        "near~sound: 4.000 nats of at most 4.159; saturated: raise K",
        "near~sound@same_video: 2.100 nats of at most 2.197; saturated: raise K",
        "warm~sound: 0.900 nats of at most 0.970; saturated: lower the temperature",
    ]
    assert terms_as_text({"bound_nats/a~b": 0.5}) == ["a~b: 0.500 nats"]
