"""Embeddings of a batch → loss and bounds, against one softmax at a time."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from avmi.config.pair_settings import NegativePool, PairSettings
from avmi.config.parts import Temperature
from avmi.config.views import AudioView, FeatureView, FrameView, View
from avmi.errors import InputError
from avmi.objective import Loss, Objective
from avmi.views.graph import ViewGraph, build_graph

VIEWS: dict[str, View] = {
    "image": FrameView(kind="frame"),
    "sound_0": AudioView(kind="audio"),
    "sound_5": AudioView(kind="audio", at_seconds=5.0),
}
INSIDE: dict[str, View] = {
    **VIEWS,
    "image_mid": FeatureView(kind="feature", of="image", layer="stage3"),
    "late_mid": FeatureView(kind="feature", of="sound_5", layer="stage3"),
    "sound_out": FeatureView(kind="feature", of="sound_0", layer="output"),
}
OTHERS, SAME = NegativePool(pool="other_videos"), NegativePool(pool="same_video")
IsNegative = Callable[[int, int], bool]


def graph_of(pairs: Any = "cross_modal", views: dict[str, View] = VIEWS, **settings: Any) -> ViewGraph:
    return build_graph(views, pairs, **settings)


def objective_of(pairs: Any = "cross_modal", *, initial: float = 0.1, **settings: Any) -> Objective:
    return Objective(graph_of(pairs, **settings), temperature=Temperature(initial=initial))


def pair(first: str, second: str, **settings: Any) -> PairSettings:
    return PairSettings(views=(first, second), **settings)


def unit(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def brute_force_loss(a: Any, b: Any, temperature: float, is_negative: IsNegative) -> float:
    """Mean over both ways, all clips that have a negative and all their places, one softmax at a time.

    A negative clip weighs one, however many places it has.
    """
    a, b = (v[:, None] if v.ndim == 2 else v for v in (a, b))
    terms = []
    for i in range(len(a)):
        ways = []
        for x, y in ((a, b), (b, a)):
            others = [j for j in range(len(a)) if is_negative(i, j)]
            for query in x[i]:
                mass = sum(
                    sum(math.exp(float(query @ place) / temperature) for place in y[j]) / len(y[j])
                    for j in others
                )
                for place in y[i]:
                    positive = float(query @ place) / temperature
                    ways.append(math.log(math.exp(positive) + mass) - positive)
        if others:
            terms.append(sum(ways) / len(ways))
    return sum(terms) / len(terms)


def loss_of(loss: Loss, term: str) -> float:
    return float(loss.terms[term].loss.detach())


def total_of(loss: Loss) -> float:
    return float(loss.total.detach())


# Pairs of whole clips -----------------------------------------------------------------------------


def test_loss_of_one_pair_is_the_brute_force_symmetric_info_nce() -> None:
    views = {k: VIEWS[k] for k in ("image", "sound_0")}
    a, b = unit(5, 7, seed=0), unit(5, 7, seed=1)
    loss = objective_of(views=views)({"image": a, "sound_0": b})
    assert total_of(loss) == pytest.approx(brute_force_loss(a, b, 0.1, lambda i, j: i != j), abs=1e-5)
    term = loss.terms["image~sound_0"]
    assert float(term.ceiling_nats) == pytest.approx(math.log(5), abs=1e-6)
    assert float(term.bound_nats) == pytest.approx(math.log(5) - float(term.loss.detach()), abs=1e-6)
    assert term.kind == "lower"


def test_total_is_the_weighted_mean_of_the_pairs() -> None:
    pairs = (pair("image", "sound_0", weight=3.0), pair("image", "sound_5", weight=0.5))
    embeddings = {"image": unit(6, 4, seed=0), "sound_0": unit(6, 4, seed=1), "sound_5": unit(6, 4, seed=2)}
    loss = objective_of(pairs)(embeddings)
    first, second = (loss_of(loss, name) for name in ("image~sound_0", "image~sound_5"))
    assert total_of(loss) == pytest.approx((3 * first + 0.5 * second) / 3.5, abs=1e-6)


def test_clips_of_one_video_are_no_negatives_of_each_other() -> None:
    videos = torch.tensor([4, 4, 9, 2, 9, 9, 7])
    a, b = unit(7, 5, seed=0), unit(7, 5, seed=1)
    loss = objective_of()({"image": a, "sound_0": b, "sound_5": b}, videos=videos)
    expected = brute_force_loss(a, b, 0.1, lambda i, j: bool(videos[i] != videos[j]))
    assert loss_of(loss, "image~sound_0") == pytest.approx(expected, abs=1e-5)
    k = [1 + int((videos != video).sum()) for video in videos]
    ceiling = sum(map(math.log, k)) / len(k)
    assert float(loss.terms["image~sound_0"].ceiling_nats) == pytest.approx(ceiling, abs=1e-5)


def test_a_view_that_a_clip_lacks_leaves_the_problem_of_the_other_clips() -> None:
    a, b = unit(6, 5, seed=0), unit(6, 5, seed=1)
    rows = torch.tensor([0, 2, 3, 5])
    masked = objective_of()(
        {"image": a, "sound_0": b, "sound_5": b[rows]},
        rows={"image": torch.arange(6), "sound_0": torch.arange(6), "sound_5": rows},
        videos=torch.arange(6),
    ).terms["image~sound_5"]
    expected = brute_force_loss(a[rows], b[rows], 0.1, lambda i, j: i != j)
    assert float(masked.loss.detach()) == pytest.approx(expected, abs=1e-5)
    assert int(masked.clips) == 4
    assert float(masked.k_effective) == pytest.approx(4, abs=1e-5)


def test_gradients_are_those_of_cross_entropy_in_both_directions() -> None:
    a, b = unit(5, 8, seed=0).requires_grad_(), unit(5, 8, seed=1).requires_grad_()
    objective = objective_of(initial=0.01)  # scale 100
    loss = objective({"image": a, "sound_0": b, "sound_5": b})
    loss.terms["image~sound_0"].loss.backward()
    a2, b2 = a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    log_t = torch.tensor(math.log(0.01), requires_grad=True)
    scores, target = a2 @ b2.T / log_t.exp(), torch.arange(5)
    ((F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2).backward()
    torch.testing.assert_close(a.grad, a2.grad, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(b.grad, b2.grad, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(objective.log_temperature.grad, log_t.grad, atol=1e-4, rtol=1e-5)


def test_rows_without_videos_are_refused_because_nobody_knows_how_many_clips_there_are() -> None:
    with pytest.raises(InputError, match="rows say which clips"):
        objective_of()({"image": unit(2, 3, seed=0)}, rows={"image": torch.tensor([1, 3])})


# Pairs without clips ------------------------------------------------------------------------------


def test_a_pair_that_no_clip_has_both_views_of_is_left_out_of_the_mean() -> None:
    a, b = unit(4, 5, seed=0).requires_grad_(), unit(4, 5, seed=1)
    loss = objective_of()({"image": a, "sound_0": b}, videos=torch.arange(4))
    lost = loss.terms["image~sound_5"]
    assert (int(lost.clips), float(lost.loss.detach()), float(lost.ceiling_nats)) == (0, 0.0, 0.0)
    assert total_of(loss) == pytest.approx(loss_of(loss, "image~sound_0"), abs=1e-6)
    loss.total.backward()
    assert a.grad is not None
    assert bool(a.grad.isfinite().all())
    assert float(a.grad.abs().max()) > 0


def test_views_of_disjoint_clips_are_left_out_too() -> None:
    a, b = unit(3, 5, seed=0), unit(6, 5, seed=1)
    rows = {"image": torch.tensor([0, 2, 4]), "sound_0": torch.arange(6), "sound_5": torch.tensor([1, 5])}
    given = {"image": a, "sound_0": b, "sound_5": unit(2, 5, seed=2)}
    loss = objective_of()(given, rows=rows, videos=torch.arange(6))
    assert int(loss.terms["image~sound_5"].clips) == 0
    assert total_of(loss) == pytest.approx(
        brute_force_loss(a, b[[0, 2, 4]], 0.1, lambda i, j: i != j), abs=1e-5
    )


def test_when_every_pair_is_left_out_total_and_gradients_are_zero() -> None:
    a = unit(3, 5, seed=0).requires_grad_()
    objective = objective_of()
    loss = objective({"image": a, "sound_0": unit(3, 5, seed=1)}, videos=torch.full((3,), 8))
    loss.total.backward()
    assert total_of(loss) == 0.0
    assert a.grad is not None
    assert float(a.grad.abs().max()) == 0.0
    assert float(objective.log_temperature.grad) == 0.0


# Pools of negatives -------------------------------------------------------------------------------


def test_each_pool_is_a_term_of_its_own() -> None:
    videos = torch.tensor([4, 4, 9, 2, 9, 9])
    seconds = torch.tensor([0.0, 3.0, 1.0, 0.0, 1.1, 5.0])
    a, b = unit(6, 5, seed=0), unit(6, 5, seed=1)
    views = {k: VIEWS[k] for k in ("image", "sound_0")}
    loss = objective_of(views=views, negatives=(OTHERS, SAME))(
        {"image": a, "sound_0": b}, videos=videos, seconds=seconds
    )
    assert list(loss.terms) == ["image~sound_0", "image~sound_0@same_video"]

    def moment(i: int, j: int) -> bool:
        return i != j and bool(videos[i] == videos[j]) and abs(float(seconds[i] - seconds[j])) >= 0.25

    others = brute_force_loss(a, b, 0.1, lambda i, j: bool(videos[i] != videos[j]))
    moments = brute_force_loss(a, b, 0.1, moment)
    assert loss_of(loss, "image~sound_0") == pytest.approx(others, abs=1e-5)
    assert loss_of(loss, "image~sound_0@same_video") == pytest.approx(moments, abs=1e-5)
    assert total_of(loss) == pytest.approx((others + moments) / 2, abs=1e-5)
    assert [term.kind for term in loss.terms.values()] == ["lower", "neither"]
    assert [int(term.clips) for term in loss.terms.values()] == [6, 5]


def test_a_counted_pool_bounds_every_clip_both_ways_by_the_same_number_of_moments() -> None:
    # Clips 0 and 1 are too near to each other: who asks whom is no longer symmetric.
    videos, seconds = torch.zeros(3, dtype=torch.long), torch.tensor([0.0, 0.1, 5.0])
    a, b = unit(3, 4, seed=0), unit(3, 4, seed=1)
    views = {k: VIEWS[k] for k in ("image", "sound_0")}
    one = NegativePool(pool="same_video", count=1)
    loss = objective_of(views=views, negatives=(one,))(
        {"image": a, "sound_0": b}, videos=videos, seconds=seconds
    )
    (term,) = loss.terms.values()
    assert int(term.clips) == 3
    assert float(term.k_effective) == pytest.approx(2, abs=1e-5)
    asked = {0: 2, 1: 2, 2: 1}
    expected = brute_force_loss(a, b, 0.1, lambda i, j: asked[i] == j)
    assert float(term.loss.detach()) == pytest.approx(expected, abs=1e-5)


def test_weights_of_pools_share_out_the_weight_of_the_pair() -> None:
    pools = (NegativePool(pool="other_videos", weight=3), NegativePool(pool="same_video", weight=2))
    objective = objective_of(
        (pair("image", "sound_0", weight=0.7, negatives=pools), pair("image", "sound_5"))
    )
    assert objective.weights == {
        "image~sound_0": pytest.approx(0.42),
        "image~sound_0@same_video": pytest.approx(0.28),
        "image~sound_5": 1.0,
    }


@pytest.mark.parametrize("given", [{}, {"videos": torch.arange(4)}, {"seconds": torch.ones(4)}])
def test_negatives_of_the_same_video_need_videos_and_seconds(given: dict[str, torch.Tensor]) -> None:
    embeddings = {"image": unit(4, 5, seed=0), "sound_0": unit(4, 5, seed=1)}
    views = {k: VIEWS[k] for k in embeddings}
    with pytest.raises(
        InputError, match="image~sound_0 takes negatives of the same video: give the objective"
    ):
        objective_of(views=views, negatives=(SAME,))(embeddings, **given)


# Places -------------------------------------------------------------------------------------------


def inside_graph(**settings: Any) -> ViewGraph:
    pairs = (
        pair("image_mid", "sound_0", **settings),
        pair("image", "sound_out"),
        pair("image_mid", "late_mid"),
    )
    return graph_of(pairs, INSIDE)


def inside_embeddings() -> dict[str, torch.Tensor]:
    return {
        "image": unit(6, 5, seed=0),
        "sound_0": unit(6, 5, seed=1),
        "sound_5": unit(4, 5, seed=2),
        "image_mid": unit(6, 2, 3, 5, seed=3),
        "late_mid": unit(4, 3, 1, 5, seed=4),
        "sound_out": unit(6, 5, seed=5),
    }


INSIDE_ROWS = {
    "image": torch.arange(6),
    "sound_0": torch.arange(6),
    "sound_5": torch.tensor([0, 2, 3, 5]),
}


def test_a_view_with_places_is_bounded_place_by_place_with_the_rows_of_its_signal() -> None:
    given = inside_embeddings()
    objective = Objective(inside_graph(), temperature=Temperature(initial=0.1))
    loss = objective(given, rows=INSIDE_ROWS, videos=torch.arange(6))
    middle, late = given["image_mid"].flatten(1, 2), given["late_mid"].flatten(1, 2)
    rows = INSIDE_ROWS["sound_5"]
    for name, a, b in (
        ("image_mid~sound_0", middle, given["sound_0"]),
        ("image~sound_out", given["image"], given["sound_out"]),
        ("image_mid~late_mid", middle[rows], late),
    ):
        expected = brute_force_loss(a, b, 0.1, lambda i, j: i != j)
        assert loss_of(loss, name) == pytest.approx(expected, abs=1e-5), name
        assert float(loss.terms[name].ceiling_nats) == pytest.approx(math.log(len(a)), abs=1e-5)


@pytest.mark.parametrize("places", ["max", "attention"])
def test_a_clip_is_scored_by_its_best_places(places: str) -> None:
    given = inside_embeddings()
    objective = Objective(inside_graph(places=places), temperature=Temperature(initial=0.3))
    loss = objective(given, rows=INSIDE_ROWS, videos=torch.arange(6))
    scores = torch.einsum("ipd,jd->ijp", given["image_mid"].flatten(1, 2), given["sound_0"]) / 0.3
    best = scores.amax(2) if places == "max" else (scores.softmax(2) * scores).sum(2)
    target = torch.arange(6)
    expected = (F.cross_entropy(best, target) + F.cross_entropy(best.T, target)) / 2
    assert loss_of(loss, "image_mid~sound_0") == pytest.approx(float(expected), abs=1e-5)
    # The other pairs keep the scoring of the top of the file.
    rows = INSIDE_ROWS["sound_5"]
    a, b = given["image_mid"].flatten(1, 2)[rows], given["late_mid"].flatten(1, 2)
    assert loss_of(loss, "image_mid~late_mid") == pytest.approx(
        brute_force_loss(a, b, 0.3, lambda i, j: i != j), abs=1e-5
    )


def test_places_that_are_all_alike_change_nothing() -> None:
    a, b = unit(5, 7, seed=0), unit(5, 7, seed=1)
    alike = a[:, None, None].expand(5, 2, 3, 7)
    graph = graph_of((pair("image_mid", "sound_0"), pair("image", "sound_0")), {
        k: INSIDE[k] for k in ("image", "sound_0", "image_mid")
    })  # fmt: skip
    loss = Objective(graph, temperature=Temperature())({"image": a, "sound_0": b, "image_mid": alike})
    assert loss_of(loss, "image_mid~sound_0") == pytest.approx(loss_of(loss, "image~sound_0"), abs=1e-6)


# Temperatures -------------------------------------------------------------------------------------


def test_a_pair_with_a_temperature_of_its_own_trains_that_one_alone() -> None:
    pairs = (pair("image", "sound_0", temperature=Temperature(initial=0.3)), pair("image", "sound_5"))
    objective = objective_of(pairs)
    embeddings = {"image": unit(6, 4, seed=0), "sound_0": unit(6, 4, seed=1), "sound_5": unit(6, 4, seed=2)}
    loss = objective(embeddings)
    own = objective.pair_log_temperatures["image~sound_0"]
    assert [float(term.temperature) for term in loss.terms.values()] == pytest.approx([0.3, 0.1])
    assert float(loss.temperature) == pytest.approx(0.1)
    loss.terms["image~sound_0"].loss.backward(retain_graph=True)
    assert objective.log_temperature.grad is None
    log_t = torch.tensor(math.log(0.3), requires_grad=True)
    scores, target = embeddings["image"] @ embeddings["sound_0"].T / log_t.exp(), torch.arange(6)
    ((F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2).backward()
    torch.testing.assert_close(own.grad, log_t.grad, atol=1e-5, rtol=1e-5)
    own.grad = None
    loss.terms["image~sound_5"].loss.backward()
    assert own.grad is None
    assert float(objective.log_temperature.grad) != 0


def test_every_temperature_is_brought_back_into_its_range() -> None:
    objective = objective_of((pair("image", "sound_0", temperature=Temperature()), pair("image", "sound_5")))
    own = objective.pair_log_temperatures["image~sound_0"]
    for parameter in (objective.log_temperature, own):
        for wrong, right in ((-20.0, 0.01), (3.0, 1.0), (math.log(0.2), 0.2)):
            with torch.no_grad():
                parameter.fill_(wrong)
            objective.keep_temperature_in_range()
            assert float(parameter.detach().exp()) == pytest.approx(right, rel=1e-6)


def test_a_fixed_temperature_is_no_trained_parameter() -> None:
    fixed = Temperature(initial=0.05, learned=False)
    objective = Objective(
        graph_of((pair("image", "sound_0", temperature=fixed), pair("image", "sound_5"))),
        temperature=fixed,
    )
    assert [p for p in objective.parameters() if p.requires_grad] == []


def test_a_shared_temperature_that_no_pair_shares_is_not_trained() -> None:
    # Several processes would wait for its gradient.
    own = Temperature(initial=0.3)
    objective = objective_of(
        (pair("image", "sound_0", temperature=own), pair("image", "sound_5", temperature=own))
    )
    assert not objective.log_temperature.requires_grad
    assert len([p for p in objective.parameters() if p.requires_grad]) == 2


def test_temperatures_are_saved_by_the_names_of_their_pairs() -> None:
    pairs = (pair("image", "sound_0", temperature=Temperature(initial=0.3)), pair("image", "sound_5"))
    assert set(objective_of(pairs).state_dict()) == {
        "log_temperature",
        "pair_log_temperatures.image~sound_0",
    }


# On a GPU ------------------------------------------------------------------------------------------


def test_a_step_reads_nothing_back_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    # Tensors on the meta device have shapes and no values: whatever waits for one fails.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which the device does not know
    count = NegativePool(pool="same_video", count=2)
    pairs = (
        pair("image", "sound_0", negatives=(OTHERS, count), temperature=Temperature()),
        pair("image_mid", "sound_0", negatives=(OTHERS, SAME)),
        pair("image_mid", "late_mid", places="max"),
        pair("image_mid", "sound_out", places="attention"),
        pair("image", "sound_5"),
    )
    objective = Objective(graph_of(pairs, INSIDE), temperature=Temperature(), grids={"late_mid": (3, 1)})
    given = {name: tensor.to("meta").requires_grad_() for name, tensor in inside_embeddings().items()}
    del given["late_mid"]
    rows = {name: tensor.to("meta") for name, tensor in INSIDE_ROWS.items()}
    videos, seconds = torch.zeros(6, dtype=torch.long, device="meta"), torch.zeros(6, device="meta")
    loss = objective.to("meta")(given, rows=rows, videos=videos, seconds=seconds)
    loss.total.backward()
    assert loss.total.device.type == "meta"
    assert given["image_mid"].grad is not None


def test_a_batch_padded_to_the_capacity_of_others_has_its_own_loss_and_gradients() -> None:
    objective = objective_of((pair("image", "sound_0"), pair("image", "sound_5", bound="nwj")))
    given = {"image": unit(6, 4, seed=0), "sound_0": unit(6, 4, seed=1), "sound_5": unit(3, 4, seed=2)}
    rows = {"image": torch.arange(6), "sound_0": torch.arange(6), "sound_5": torch.tensor([4, 0, 2])}
    videos = torch.tensor([3, 1, 1, 0, 5, 2])
    found = []
    for capacity in (None, 6, 9):
        leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in given.items()}
        loss = objective(leaves, rows=rows, videos=videos, capacity=capacity)
        loss.total.backward()
        found.append([loss.total.detach(), *(leaf.grad for leaf in leaves.values())])
    for padded in found[1:]:
        for one, other in zip(found[0], padded, strict=True):
            torch.testing.assert_close(one, other)


def test_a_batch_above_the_capacity_is_refused() -> None:
    objective = objective_of()
    with pytest.raises(InputError, match="the batch has 6 clips and capacity is 5: raise it"):
        objective({"image": unit(6, 4, seed=0), "sound_0": unit(6, 4, seed=1)}, capacity=5)


def test_only_pairs_that_take_the_matrix_of_scores_are_named_as_such() -> None:
    counted = (NegativePool(pool="other_videos"), NegativePool(pool="same_video", count=2))
    objective = objective_of(
        (
            pair("image", "sound_0"),
            pair("image", "sound_5", bound="nwj"),
            pair("sound_0", "sound_5", negatives=counted),
        )
    )
    assert [pair.name for pair in objective.scored_pairs] == ["image~sound_5", "sound_0~sound_5"]
