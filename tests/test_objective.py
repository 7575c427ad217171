import math

import pytest
import torch
import torch.nn.functional as F

from avmi.config.parts import Temperature
from avmi.config.views import AudioView, FrameView, PairSettings
from avmi.objective import Objective, negatives_of
from avmi.views.graph import build_graph

VIEWS = {
    "image": FrameView(kind="frame"),
    "sound_0": AudioView(kind="audio"),
    "sound_5": AudioView(kind="audio", at_seconds=5.0),
}


def graph_of(pairs="cross_modal", negatives=("other_videos",)):
    return build_graph(VIEWS, pairs, bound="info_nce", negatives=negatives)


def objective_of(pairs="cross_modal", negatives=("other_videos",), initial=0.1) -> Objective:
    return Objective(graph_of(pairs, negatives), temperature=Temperature(initial=initial))


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, dim, generator=generator), dim=1)


def brute_force_loss(a, b, temperature: float, is_negative) -> float:
    """Mean over both directions and all clips that have a negative, one softmax at a time."""
    terms = []
    for i in range(len(a)):
        ways = []
        for x, y in ((a, b), (b, a)):
            positive = float(x[i] @ y[i]) / temperature
            others = [float(x[i] @ y[j]) / temperature for j in range(len(a)) if is_negative(i, j)]
            if others:
                ways.append(math.log(sum(math.exp(s) for s in [positive, *others])) - positive)
        if ways:
            terms.append(sum(ways) / 2)
    return sum(terms) / len(terms)


def test_loss_of_one_pair_is_the_brute_force_symmetric_info_nce() -> None:
    pairs = (PairSettings(views=("image", "sound_0")),)
    graph = build_graph(
        {k: VIEWS[k] for k in ("image", "sound_0")}, pairs, bound="info_nce", negatives=("other_videos",)
    )
    objective = Objective(graph, temperature=Temperature(initial=0.1))
    a, b = unit(5, 7, 0), unit(5, 7, 1)
    loss = objective({"image": a, "sound_0": b})
    assert float(loss.total.detach()) == pytest.approx(
        brute_force_loss(a, b, 0.1, lambda i, j: i != j), abs=1e-5
    )
    term = loss.terms["image~sound_0"]
    assert float(term.ceiling_nats) == pytest.approx(math.log(5), abs=1e-6)
    assert float(term.bound_nats) == pytest.approx(math.log(5) - float(term.loss.detach()), abs=1e-6)


def test_total_is_the_weighted_mean_of_the_pairs() -> None:
    pairs = (
        PairSettings(views=("image", "sound_0"), weight=3.0),
        PairSettings(views=("image", "sound_5"), weight=0.5),
    )
    embeddings = {"image": unit(6, 4, 0), "sound_0": unit(6, 4, 1), "sound_5": unit(6, 4, 2)}
    loss = objective_of(pairs)(embeddings)
    first, second = (float(loss.terms[n].loss.detach()) for n in ("image~sound_0", "image~sound_5"))
    assert float(loss.total.detach()) == pytest.approx((3 * first + 0.5 * second) / 3.5, abs=1e-6)


def test_clips_of_one_video_are_no_negatives_of_each_other() -> None:
    videos = torch.tensor([4, 4, 9, 2, 9, 9, 7])
    a, b = unit(7, 5, 0), unit(7, 5, 1)
    loss = objective_of()({"image": a, "sound_0": b, "sound_5": b}, videos=videos)
    expected = brute_force_loss(a, b, 0.1, lambda i, j: videos[i] != videos[j])
    assert float(loss.terms["image~sound_0"].loss.detach()) == pytest.approx(expected, abs=1e-5)
    k = [1 + int((videos != video).sum()) for video in videos]
    ceiling = sum(map(math.log, k)) / len(k)
    assert float(loss.terms["image~sound_0"].ceiling_nats) == pytest.approx(ceiling, abs=1e-5)


def test_same_video_negatives_alone_and_together_with_others() -> None:
    videos = torch.tensor([4, 4, 9, 2, 9])
    present = torch.tensor([True, True, True, True, False])
    same = negatives_of(("same_video",), present, videos)
    both = negatives_of(("other_videos", "same_video"), present, videos)
    for i in range(5):
        for j in range(5):
            usable = i != j and bool(present[i] & present[j])
            assert bool(same[i, j]) == (usable and bool(videos[i] == videos[j]))
            assert bool(both[i, j]) == usable


def test_a_view_that_a_clip_lacks_leaves_the_problem_of_the_other_clips() -> None:
    a, b = unit(6, 5, 0), unit(6, 5, 1)
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


def test_a_view_that_no_clip_has_adds_nothing_and_the_gradient_stays_finite() -> None:
    a = unit(4, 5, 0).requires_grad_()
    loss = objective_of()({"image": a, "sound_0": unit(4, 5, 1)}, rows=None, videos=torch.arange(4))
    loss.total.backward()
    assert int(loss.terms["image~sound_5"].clips) == 0
    assert float(loss.terms["image~sound_5"].loss.detach()) == 0.0
    assert a.grad is not None
    assert bool(a.grad.isfinite().all())


def test_gradients_are_those_of_cross_entropy_in_both_directions() -> None:
    a, b = unit(5, 8, 0).requires_grad_(), unit(5, 8, 1).requires_grad_()
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


def test_temperature_is_brought_back_into_its_range() -> None:
    objective = objective_of()
    for wrong, right in ((-20.0, 0.01), (3.0, 1.0), (math.log(0.2), 0.2)):
        with torch.no_grad():
            objective.log_temperature.fill_(wrong)
        objective.keep_temperature_in_range()
        assert float(objective.temperature.detach()) == pytest.approx(right, rel=1e-6)


def test_fixed_temperature_is_no_trained_parameter() -> None:
    objective = Objective(graph_of(), temperature=Temperature(initial=0.05, learned=False))
    assert not objective.log_temperature.requires_grad
