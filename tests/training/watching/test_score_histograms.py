"""Cosines of positives and negatives → histograms and their scalars, against numpy and scikit-learn on the whole matrix."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize

from avmi.config.pair_settings import NegativePool, PairSettings
from avmi.config.parts import Temperature
from avmi.objective.joined import Joined
from avmi.training.watching import score_histograms as module
from avmi.training.watching.score_histograms import BINS, Histogram, scalars_of_scores, score_histograms
from avmi.views.graph import Pair, graph_of

VIEWS: dict[str, Any] = {
    "image": {"kind": "frame"},
    "sound": {"kind": "audio", "window_seconds": 0.5},
    "image_mid": {"kind": "feature", "of": "image", "layer": "stage3", "grid": 2},
}
BOTH = (NegativePool(pool="other_videos"), NegativePool(pool="same_video", least_gap_seconds=0.5))
PAIRS = (
    PairSettings(views=("image", "sound"), negatives=BOTH),
    PairSettings(views=("image_mid", "sound")),
    PairSettings(
        views=("image", "image_mid"), places="attention", temperature=Temperature(initial=0.3), negatives=BOTH
    ),
)
TEMPERATURES = {"image~sound": 0.1, "image_mid~sound": 0.1, "image~image_mid": 0.3}
EDGES = np.linspace(-1, 1, BINS + 1)


def unit(*shape: int, seed: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture(scope="module")
def joined() -> Joined:
    """23 clips of eight videos; three lack the sound, and neighbours in time are too near to be negatives."""
    clips = 23
    sound = torch.ones(clips, dtype=torch.bool)
    sound[[2, 11, 12]] = False
    everywhere = torch.ones(clips, dtype=torch.bool)
    picture = unit(clips, 1, 6, seed=0)
    return Joined(
        {
            "image": picture,
            "sound": normalize(picture + unit(clips, 1, 6, seed=1), dim=-1),
            "image_mid": unit(clips, 4, 6, seed=2),
        },
        {"image": everywhere, "sound": sound, "image_mid": everywhere},
        videos=torch.arange(clips) // 3,
        seconds=torch.tensor([0.0, 0.25, 1.5] * 8)[:clips],
    )


@pytest.fixture(scope="module")
def pairs(tiny_config: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, ...]:
    folder: Path = tmp_path_factory.mktemp("scores")
    return graph_of(
        tiny_config(folder, folder / "run", views=VIEWS, pairs=PAIRS, data={"clips_per_video": 2})
    ).pairs


def brute_force(joined: Joined, pair: Pair, *, same_video: bool) -> tuple[list[float], list[float]]:
    """Score clip by clip and place by place, in double precision."""
    positives: list[float] = []
    negatives: list[float] = []
    present = joined.present[pair.first] & joined.present[pair.second]
    assert joined.videos is not None
    assert joined.seconds is not None
    for i in present.nonzero().flatten().tolist():
        for j in present.nonzero().flatten().tolist():
            cosines = joined.embeddings[pair.first][i].double() @ joined.embeddings[pair.second][j].double().T
            if pair.places == "attention":
                weights = torch.softmax(cosines.flatten() / TEMPERATURES[pair.name], dim=0)
                cosines = (weights * cosines.flatten()).sum()
            is_same = joined.videos[i] == joined.videos[j]
            is_near = abs(joined.seconds[i] - joined.seconds[j]) < 0.5
            if i == j:
                positives += cosines.flatten().tolist()
            elif (is_same and not is_near) if same_video else not is_same:
                negatives += cosines.flatten().tolist()
    return positives, negatives


TERMS = (
    ("image~sound", 0, False),
    ("image~sound@same_video", 0, True),
    ("image_mid~sound", 1, False),
    ("image~image_mid", 2, False),
    ("image~image_mid@same_video", 2, True),
)


@pytest.mark.parametrize(("name", "number", "same_video"), TERMS)
def test_every_terms_cosines_are_counted_as_one_by_one(
    joined: Joined, pairs: tuple[Pair, ...], name: str, number: int, same_video: bool
) -> None:
    found = score_histograms(joined, pairs, temperatures=TEMPERATURES)
    assert list(found) == [term for term, _, _ in TERMS]
    positives, negatives = brute_force(joined, pairs[number], same_video=same_video)
    for histogram, expected in ((found[name].positives, positives), (found[name].negatives, negatives)):
        assert histogram.counts.tolist() == np.histogram(expected, bins=EDGES)[0].tolist()
        assert histogram.number == len(expected)
        assert histogram.mean == pytest.approx(np.mean(expected), abs=1e-6)
        assert histogram.variance == pytest.approx(np.var(expected), abs=1e-6)
        assert (histogram.least, histogram.most) == pytest.approx((min(expected), max(expected)), abs=1e-6)


def test_scalars_are_the_means_the_auc_and_the_distance_in_deviations(
    joined: Joined, pairs: tuple[Pair, ...]
) -> None:
    scalars = scalars_of_scores(score_histograms(joined, pairs, temperatures=TEMPERATURES))
    positives, negatives = brute_force(joined, pairs[0], same_video=False)
    truth = [1] * len(positives) + [0] * len(negatives)
    assert scalars["positive_score/image~sound"] == pytest.approx(np.mean(positives), abs=1e-6)
    assert scalars["negative_score/image~sound"] == pytest.approx(np.mean(negatives), abs=1e-6)
    # Bins of 0.02 leave a little open.
    assert scalars["score_auc/image~sound"] == pytest.approx(
        roc_auc_score(truth, positives + negatives), abs=0.005
    )
    deviation = np.sqrt((np.var(positives) + np.var(negatives)) / 2)
    distance = (np.mean(positives) - np.mean(negatives)) / deviation
    assert scalars["d_prime/image~sound"] == pytest.approx(distance, abs=1e-4)
    assert len(scalars) == 4 * len(TERMS)


def test_of_more_scores_than_are_counted_evenly_spread_clips_stand_against_all(
    joined: Joined, pairs: tuple[Pair, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score_histograms(joined, pairs, temperatures=TEMPERATURES)["image~sound"]
    monkeypatch.setattr(module, "MOST_SCORES", 20 * 7)  # of 20 clips with both views
    monkeypatch.setattr(module, "CHUNK_SCORES", 20 * 2)
    some = score_histograms(joined, pairs, temperatures=TEMPERATURES)["image~sound"]
    assert some.positives.number == 7
    assert some.negatives.number == sum(
        1
        for i in range(0, 20, 3)
        for j in range(20)
        if _video(joined, i, pairs[0]) != _video(joined, j, pairs[0])
    )
    assert whole.positives.number == 20


def _video(joined: Joined, row: int, pair: Pair) -> int:
    assert joined.videos is not None
    both = joined.present[pair.first] & joined.present[pair.second]
    return int(joined.videos[both][row])


def test_chunks_add_up_to_the_whole(
    joined: Joined, pairs: tuple[Pair, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score_histograms(joined, pairs, temperatures=TEMPERATURES)
    monkeypatch.setattr(module, "CHUNK_SCORES", 23 * 4 * 3)
    parts = score_histograms(joined, pairs, temperatures=TEMPERATURES)
    for name, term in parts.items():
        assert term.negatives.counts.tolist() == whole[name].negatives.counts.tolist()
        assert term.positives.total == pytest.approx(whole[name].positives.total, abs=1e-5)


def test_terms_of_a_view_that_no_clip_has_are_left_out(joined: Joined, pairs: tuple[Pair, ...]) -> None:
    views = {name: joined.embeddings[name] for name in ("image", "image_mid")}
    present = {name: joined.present[name] for name in views}
    bare = Joined(views, present, joined.videos, joined.seconds)
    found = score_histograms(bare, pairs, temperatures=TEMPERATURES)
    assert list(found) == ["image~image_mid", "image~image_mid@same_video"]


def test_a_term_without_negatives_is_left_out_and_rounding_beyond_one_is_counted(
    pairs: tuple[Pair, ...],
) -> None:
    alone = Joined(
        {name: unit(2, 4 if name == "image_mid" else 1, 6, seed=3) for name in VIEWS},
        {name: torch.ones(2, dtype=torch.bool) for name in VIEWS},
        videos=torch.tensor([4, 4]),
        seconds=torch.tensor([0.0, 0.25]),
    )
    assert score_histograms(alone, pairs, temperatures=TEMPERATURES) == {}
    counts = Histogram.of(torch.tensor([-1.0000001, 1.0, 1.0000002])).counts.tolist()
    assert (counts[0], counts[-1], sum(counts)) == (1, 2, 3)
