"""Every bound as the bound of a view pair, against sums in plain loops over the scores."""

import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F

from avmi.config.bounds import BoundName, PairBound
from avmi.config.pair_settings import NegativePool, PairSettings
from avmi.config.parts import Temperature
from avmi.config.views import AudioView, FeatureView, FrameView, View
from avmi.errors import InputError
from avmi.mi.sigmoid import pairwise_sigmoid
from avmi.mi.variational import log_mean_of_negatives
from avmi.objective import Loss, Objective
from avmi.views.graph import build_graph

VIEWS: dict[str, View] = {"image": FrameView(kind="frame"), "sound": AudioView(kind="audio")}
NAMES = get_args(BoundName)
VIDEOS = torch.tensor([4, 4, 9, 2, 9, 7])
T = 0.2
Scores = list[list[float]]


def unit(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def objective_of(bound: PairBound, views: dict[str, View] = VIEWS, **settings: Any) -> Objective:
    graph = build_graph(views, (PairSettings(views=("image", "sound")),), bound=bound, **settings)
    return Objective(graph, temperature=Temperature(initial=T), embedding_dim=5)


def batch() -> dict[str, torch.Tensor]:
    return {"image": unit(6, 5, seed=0), "sound": unit(6, 5, seed=1)}


def others(i: int) -> list[int]:
    return [j for j in range(6) if VIDEOS[i] != VIDEOS[j]]


def scores_of(embeddings: dict[str, torch.Tensor], offset: float = 0.0) -> Scores:
    return (embeddings["image"] @ embeddings["sound"].T / T + offset).tolist()


def mean(terms: list[float]) -> float:
    return sum(terms) / len(terms)


def positives(f: Scores) -> float:
    return mean([f[i][i] for i in range(6)])


def denominator(f: Scores, of: Callable[[float], float]) -> float:
    return mean([mean([of(f[i][j]) for j in others(i)]) for i in range(6)])


def nce(f: Scores) -> float:
    log_k = [math.log(1 + len(others(i))) for i in range(6)]
    mass = [math.log(sum(math.exp(f[i][j]) for j in [i, *others(i)])) for i in range(6)]
    return mean([f[i][i] - mass[i] + log_k[i] for i in range(6)])


def turned(f: Scores) -> Scores:
    return [list(row) for row in zip(*f, strict=True)]


# The offset after the first batch: none, or that which makes the mean of e^f over the negatives 1 (e for NWJ).
EXPECTED: dict[str, tuple[float | None, Callable[[Scores], float]]] = {
    "info_nce": (None, lambda f: (nce(f) + nce(turned(f))) / 2),
    "sigmoid": (None, lambda f: (nce(f) + nce(turned(f))) / 2),
    "info_nce_rows": (None, nce),
    "info_nce_columns": (None, lambda f: nce(turned(f))),
    "donsker_varadhan": (None, lambda f: positives(f) - math.log(denominator(f, math.exp))),
    "nwj": (1.0, lambda f: positives(f) - denominator(f, lambda s: math.exp(s - 1))),
    "tuba": (0.0, lambda f: 1 + positives(f) - denominator(f, math.exp)),  # the baseline begins at 1
    "jensen_shannon": (0.0, lambda f: 1 + positives(f) - denominator(f, math.exp)),
    "smile": (
        0.0,
        lambda f: positives(f) - math.log(denominator(f, lambda s: math.exp(min(5.0, max(-5.0, s))))),
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_pair_reports_the_formula_of_its_bound_over_clips_of_other_videos(name: str) -> None:
    given = batch()
    term = objective_of(PairBound(name=name))(given, videos=VIDEOS).terms["image~sound"]
    above_mean, formula = EXPECTED[name]
    mean_score = math.log(denominator(scores_of(given), math.exp))
    offset = 0.0 if above_mean is None else above_mean - mean_score
    assert float(term.bound_nats) == pytest.approx(formula(scores_of(given, offset)), abs=1e-5)
    assert (term.bound, int(term.clips)) == (name, 6)
    assert float(term.k_effective) == pytest.approx(
        math.exp(mean([math.log(1 + len(others(i))) for i in range(6)])), abs=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_what_is_missing_to_the_ceiling_where_there_is_one(name: str) -> None:
    term = objective_of(PairBound(name=name))(batch(), videos=VIDEOS).terms["image~sound"]
    has_ceiling = name.startswith("info_nce") or name in ("interpolated", "sigmoid")
    assert bool(term.ceiling_nats.isfinite()) == has_ceiling
    ceiling = float(term.ceiling_nats) if has_ceiling else 0.0
    assert float(term.loss.detach()) == pytest.approx(ceiling - float(term.bound_nats), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_kinds_are_those_of_the_bound_and_of_its_negatives(name: str) -> None:
    pools = (NegativePool(pool="other_videos"), NegativePool(pool="same_video"))
    loss = objective_of(PairBound(name=name), negatives=pools)(
        batch(), videos=VIDEOS, seconds=torch.tensor([0.0, 3.0, 1.0, 0.0, 5.0, 0.0])
    )
    kind = "neither" if name in ("donsker_varadhan", "smile") else "lower"
    assert [term.kind for term in loss.terms.values()] == [kind, "neither"]


def learned(objective: Objective) -> set[str]:
    return {name.split(".")[-1] for name, _ in objective.named_parameters() if name.startswith("bounds.")}


@pytest.mark.parametrize("name", NAMES)
def test_only_bounds_that_need_one_learn_an_offset_or_a_baseline_and_both_get_gradients(name: str) -> None:
    objective = objective_of(PairBound(name=name))
    free = {"offset"} if name in ("nwj", "jensen_shannon", "smile", "sigmoid") else set()
    wanted = {"offset", "baseline"} if name in ("tuba", "interpolated") else free
    assert learned(objective) == wanted
    # Against its own denominator alone a batch has nothing to say of the offset: another one comes first.
    objective = objective_of(PairBound(name=name, **({"decay": 0.5} if wanted and name != "sigmoid" else {})))
    objective({"image": unit(6, 5, seed=2), "sound": unit(6, 5, seed=3)}, videos=VIDEOS)
    given = {view: embedding.requires_grad_() for view, embedding in batch().items()}
    objective(given, videos=VIDEOS).total.backward()
    for parameter in objective.parameters():
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) > 1e-4
    assert all(e.grad is not None and bool(e.grad.isfinite().all()) for e in given.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_view_that_a_clip_lacks_leaves_the_problem_of_the_other_clips(name: str) -> None:
    given, rows = batch(), torch.tensor([0, 2, 3, 5])
    masked = objective_of(PairBound(name=name))(
        {"image": given["image"], "sound": given["sound"][rows]},
        rows={"image": torch.arange(6), "sound": rows},
        videos=VIDEOS,
    )
    alone = objective_of(PairBound(name=name))(
        {view: embedding[rows] for view, embedding in given.items()}, videos=VIDEOS[rows]
    )
    assert float(masked.total.detach()) == pytest.approx(float(alone.total.detach()), rel=1e-5)
    assert int(masked.terms["image~sound"].clips) == 4


@pytest.mark.parametrize("name", NAMES)
def test_when_no_clip_has_a_negative_total_and_gradients_are_zero(name: str) -> None:
    given = {view: embedding.requires_grad_() for view, embedding in batch().items()}
    objective = objective_of(PairBound(name=name))
    loss = objective(given, videos=torch.full((6,), 3))
    loss.total.backward()
    assert float(loss.total.detach()) == 0.0
    assert all(e.grad is not None and float(e.grad.abs().max()) == 0.0 for e in given.values())
    assert all(float(p.grad.abs().max()) == 0.0 for p in objective.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("info_nce", "donsker_varadhan")])
def test_clips_are_scored_by_their_best_places(name: str) -> None:
    views = {**VIEWS, "middle": FeatureView(kind="feature", of="image", layer="stage3")}
    pairs = (PairSettings(views=("middle", "sound")), PairSettings(views=("image", "sound")))
    graph = build_graph(views, pairs, bound=PairBound(name=name), places="max")
    objective = Objective(graph, temperature=Temperature(initial=T), embedding_dim=5)
    given = batch()
    places = unit(6, 2, 3, 5, seed=3)
    loss = objective({**given, "middle": places}, videos=VIDEOS)
    best = torch.einsum("ipd,jd->ijp", places.flatten(1, 2), given["sound"]).amax(dim=2)
    # Embeddings whose cosines are these: the best places' scores in the place of the clips'.
    alike = objective_of(PairBound(name=name))
    scores = best[:, None, :, None] / T
    term = alike.bounds["image~sound"](
        scores,
        given["sound"][:, None],
        temperature=torch.tensor(T),
        negatives=VIDEOS[:, None] != VIDEOS[None, :],
        independent_negatives=True,
    )
    assert loss.terms["middle~sound"].bound_nats.item() == pytest.approx(term.value_nats.item(), abs=1e-5)


def test_a_learned_baseline_needs_to_know_how_long_embeddings_are() -> None:
    graph = build_graph(VIEWS, "all", bound=PairBound(name="tuba"))
    with pytest.raises(InputError, match="tuba learns a baseline: give the objective embedding_dim"):
        Objective(graph, temperature=Temperature())


def test_temperatures_are_kept_in_range_and_offsets_are_free() -> None:
    objective = objective_of(PairBound(name="nwj"))
    with torch.no_grad():
        objective.bounds["image~sound"].offset.fill_(-7.0)
        objective.log_temperature.fill_(3.0)
    objective.keep_temperature_in_range()
    assert objective.temperature.item() == pytest.approx(1.0)
    assert objective.bounds["image~sound"].offset.item() == -7.0


# The running mean of Donsker–Varadhan ---------------------------------------------------------------


def gradient(loss: Loss, embedding: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(loss.terms["image~sound"].loss, embedding)
    return found


def test_the_running_mean_of_the_denominator_divides_the_gradient_and_not_the_value() -> None:
    objective = objective_of(PairBound(name="donsker_varadhan", decay=0.75))
    means = [denominator(scores_of(given), math.exp) for given in (batch(), {
        "image": unit(6, 5, seed=2), "sound": unit(6, 5, seed=3)})]  # fmt: skip
    objective(batch(), videos=VIDEOS)
    log_mean = objective.bounds["image~sound"].log_mean
    assert float(log_mean.exp()) == pytest.approx(means[0], rel=1e-5)
    image = unit(6, 5, seed=2).requires_grad_()
    loss = objective({"image": image, "sound": unit(6, 5, seed=3)}, videos=VIDEOS)
    running = 0.75 * means[0] + 0.25 * means[1]
    assert float(objective.bounds["image~sound"].log_mean.exp()) == pytest.approx(running, rel=1e-5)
    scores = image @ unit(6, 5, seed=3).T / T
    mask = VIDEOS[:, None] != VIDEOS[None, :]
    of_rows = (scores.exp() * mask).sum(dim=1) / mask.sum(dim=1)
    (expected,) = torch.autograd.grad(of_rows.mean() / running - scores.diagonal().mean(), image)
    torch.testing.assert_close(gradient(loss, image), expected, atol=1e-5, rtol=1e-4)
    value = float(scores.diagonal().mean() - of_rows.mean().log())
    assert float(loss.terms["image~sound"].bound_nats) == pytest.approx(value, abs=1e-5)


def test_scores_stand_against_the_running_mean_of_the_batches_before() -> None:
    objective = objective_of(PairBound(name="tuba", decay=0.75))
    seen = [denominator(scores_of(batch()), math.exp)]
    objective(batch(), videos=VIDEOS)
    given = {"image": unit(6, 5, seed=2), "sound": unit(6, 5, seed=3)}
    seen.append(denominator(scores_of(given), math.exp))
    term = objective(given, videos=VIDEOS).terms["image~sound"]
    f = scores_of(given, -math.log(seen[0]))
    assert float(term.bound_nats) == pytest.approx(1 + positives(f) - denominator(f, math.exp), abs=1e-5)
    running = 0.75 * seen[0] + 0.25 * seen[1]
    assert float(objective.bounds["image~sound"].log_mean.exp()) == pytest.approx(running, rel=1e-5)


def test_their_gradient_is_taken_with_the_batch_in_the_running_mean() -> None:
    objective = objective_of(PairBound(name="nwj", decay=0.75))
    seen = [denominator(scores_of(batch()), math.exp)]
    objective(batch(), videos=VIDEOS)
    image, sound = unit(6, 5, seed=2).requires_grad_(), unit(6, 5, seed=3)
    seen.append(denominator(scores_of({"image": image.detach(), "sound": sound}), math.exp))
    loss = objective({"image": image, "sound": sound}, videos=VIDEOS)
    running = 0.75 * seen[0] + 0.25 * seen[1]
    scores, mask = image @ sound.T / T, VIDEOS[:, None] != VIDEOS[None, :]
    of_rows = (scores.exp() * mask).sum(dim=1) / mask.sum(dim=1)
    (expected,) = torch.autograd.grad(of_rows.mean() / running - scores.diagonal().mean(), image)
    torch.testing.assert_close(gradient(loss, image), expected, atol=1e-5, rtol=1e-4)


def test_a_decay_of_zero_takes_the_gradient_of_the_batch() -> None:
    objective = objective_of(PairBound(name="donsker_varadhan", decay=0))
    objective(batch(), videos=VIDEOS)
    image = unit(6, 5, seed=2).requires_grad_()
    loss = objective({"image": image, "sound": unit(6, 5, seed=3)}, videos=VIDEOS)
    scores = image @ unit(6, 5, seed=3).T / T
    mask = VIDEOS[:, None] != VIDEOS[None, :]
    of_rows = (scores.exp() * mask).sum(dim=1) / mask.sum(dim=1)
    (expected,) = torch.autograd.grad(of_rows.mean().log() - scores.diagonal().mean(), image)
    torch.testing.assert_close(gradient(loss, image), expected, atol=1e-5, rtol=1e-4)


def test_the_running_mean_stays_in_evaluation_and_where_a_batch_has_no_negatives_and_is_saved() -> None:
    objective = objective_of(PairBound(name="donsker_varadhan"))
    objective(batch(), videos=torch.full((6,), 3))
    assert objective.bounds["image~sound"].log_mean.isneginf()
    objective(batch(), videos=VIDEOS)
    before = objective.bounds["image~sound"].log_mean.clone()
    objective(batch(), videos=torch.full((6,), 3))
    objective.eval()
    objective({"image": unit(6, 5, seed=2), "sound": unit(6, 5, seed=3)}, videos=VIDEOS)
    assert torch.equal(objective.bounds["image~sound"].log_mean, before)
    assert torch.equal(objective.state_dict()["bounds.image~sound.log_mean"], before)


def test_sigmoid_trains_by_the_loss_of_scores_above_the_mean_of_their_batch() -> None:
    objective = objective_of(PairBound(name="sigmoid"))
    ours, theirs = batch(), batch()
    for view in ours:
        ours[view], theirs[view] = ours[view].requires_grad_(), theirs[view].clone().requires_grad_()
    objective(ours, videos=VIDEOS).total.backward()
    mask = VIDEOS[:, None] != VIDEOS[None, :]
    temperature = objective.log_temperature.exp().detach()
    scores = theirs["image"] @ theirs["sound"].T / temperature
    log_mean = log_mean_of_negatives(scores, negatives=mask).detach()
    (-pairwise_sigmoid(scores - log_mean, negatives=mask).value_nats).backward()
    for view, tensor in ours.items():
        torch.testing.assert_close(tensor.grad, theirs[view].grad)
