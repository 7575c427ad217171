"""Posteriors of a batch → the bottleneck and the terms of private parts, against densities written out."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Independent, Normal

from avmi.config.bottleneck import Bottleneck, Private
from avmi.config.parts import Head, Temperature
from avmi.config.views import AudioView, FrameView, View
from avmi.errors import InputError
from avmi.mi.posterior import Posterior
from avmi.objective import Objective
from avmi.objective.code_terms import CodeTerms
from avmi.objective.codes import Codes, join_codes, of_both
from avmi.objective.private import PrivateParts
from avmi.views.graph import build_graph

VIEWS: dict[str, View] = {"image": FrameView(kind="frame"), "sound": AudioView(kind="audio")}
VIDEOS = torch.tensor([4, 4, 9, 2, 9, 7])
SHARED, PRIVATE = 3, 2


def posterior(clips: int, *, seed: int, dim: int = SHARED) -> Posterior:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(clips, dim, generator=generator)
    log_sigma = 0.4 * torch.randn(clips, dim, generator=generator) - 0.5
    noise = torch.randn(clips, dim, generator=generator)
    return Posterior(mean, log_sigma, mean + log_sigma.exp() * noise)


def density(p: Posterior, j: int) -> Independent:
    return Independent(Normal(p.mean[j], p.log_sigma[j].exp()), 1)


def codes_of(p: Posterior, videos: torch.Tensor = VIDEOS) -> Codes:
    return Codes(p, torch.arange(len(p.mean)), videos)


def terms_of(
    bottleneck: Bottleneck | None, *, private_dim: int = 0, private: Private | None = None
) -> CodeTerms:
    head = Head(embedding_dim=SHARED, private_dim=private_dim, posterior="gaussian")
    return CodeTerms(
        head,
        bottleneck=bottleneck,
        private=private or Private(),
        views=("image", "sound"),
        pairs=(("image", "sound"),),
    )


def upper(name: str, p: Posterior, **settings: Any) -> tuple[float, CodeTerms]:
    torch.manual_seed(0)
    terms = terms_of(Bottleneck(upper=name, **settings))
    loss = terms({"image": codes_of(p)}, progress=1.0)
    return float(loss.scalars["upper_nats/image"]), terms


def marginal(terms: CodeTerms, z: torch.Tensor) -> float:
    r = terms.bottleneck.marginals["r_image"]()
    parts = [
        float(w + Independent(Normal(m, s.exp()), 1).log_prob(z))
        for w, m, s in zip(r.log_weights, r.mean, r.log_sigma, strict=True)
    ]
    return math.log(sum(map(math.exp, parts)))


# The bottleneck -----------------------------------------------------------------------------------


def test_the_defensive_bound_has_clips_of_other_videos_and_r_in_its_denominator() -> None:
    p = posterior(6, seed=0)
    value, terms = upper("defensive", p, epsilon=0.3, mixture=4)
    expected = []
    for i in range(6):
        own = float(density(p, i).log_prob(p.sample[i]))
        others = [
            math.exp(float(density(p, j).log_prob(p.sample[i]))) for j in range(6) if VIDEOS[i] != VIDEOS[j]
        ]
        mixed = 0.7 * sum(others) / len(others) + 0.3 * math.exp(marginal(terms, p.sample[i]))
        expected.append(own - math.log(mixed))
    assert value == pytest.approx(sum(expected) / 6, abs=1e-5)


def test_leave_one_out_has_clips_of_other_videos_alone_and_learns_nothing() -> None:
    p = posterior(6, seed=1)
    value, terms = upper("leave_one_out", p)
    expected = []
    for i in range(6):
        others = [
            math.exp(float(density(p, j).log_prob(p.sample[i]))) for j in range(6) if VIDEOS[i] != VIDEOS[j]
        ]
        expected.append(float(density(p, i).log_prob(p.sample[i])) - math.log(sum(others) / len(others)))
    assert value == pytest.approx(sum(expected) / 6, abs=1e-5)
    assert list(terms.parameters()) == []


def test_the_rate_of_one_component_is_the_divergence_of_two_gaussians() -> None:
    p = posterior(6, seed=2)
    value, terms = upper("rate", p, mixture=1)
    r = terms.bottleneck.marginals["r_image"]()
    one = Independent(Normal(r.mean[0], r.log_sigma[0].exp()), 1)
    expected = [float(torch.distributions.kl_divergence(density(p, i), one)) for i in range(6)]
    assert value == pytest.approx(sum(expected) / 6, abs=1e-4)


def test_beta_weighs_the_sum_over_views_and_rises() -> None:
    terms = terms_of(Bottleneck(beta=0.2, warmup_fraction=0.5))
    codes = {"image": codes_of(posterior(6, seed=0)), "sound": codes_of(posterior(6, seed=1))}
    early, late = terms(codes, progress=0.1), terms(codes, progress=0.9)
    uppers = sum(float(late.scalars[f"upper_nats/{name}"]) for name in codes)
    assert float(late.total.detach()) == pytest.approx(0.2 * uppers, abs=1e-6)
    assert float(early.total.detach()) == pytest.approx(0.04 * uppers, abs=1e-6)
    assert (float(early.scalars["beta"]), float(late.scalars["beta"])) == pytest.approx((0.04, 0.2))


def test_a_view_without_clips_of_two_videos_is_left_out() -> None:
    terms = terms_of(Bottleneck())
    alone = codes_of(posterior(6, seed=1), torch.full((6,), 4))
    loss = terms({"image": codes_of(posterior(6, seed=0)), "sound": alone}, progress=1.0)
    assert set(loss.scalars) == {"beta", "upper_nats/image"}


def objective_of(codes: CodeTerms | None) -> Objective:
    return Objective(build_graph(VIEWS, "all"), temperature=Temperature(initial=0.2), codes=codes)


def test_the_objective_adds_the_terms_of_codes_to_those_of_pairs_for_the_clips_that_have_a_view() -> None:
    torch.manual_seed(0)
    terms = terms_of(Bottleneck(beta=0.3))
    whole, some = posterior(6, seed=0), posterior(4, seed=1)
    rows = {"image": torch.arange(6), "sound": torch.tensor([0, 2, 3, 5])}
    embeddings = {"image": F.normalize(whole.sample, dim=1), "sound": F.normalize(some.sample, dim=1)}
    posteriors = {"image": whole, "sound": some}
    loss = objective_of(terms)(embeddings, rows=rows, videos=VIDEOS, posteriors=posteriors, progress=1.0)
    pairs = objective_of(None)(embeddings, rows=rows, videos=VIDEOS)
    alone = terms({"image": codes_of(whole), "sound": codes_of(some, VIDEOS[rows["sound"]])}, progress=1.0)
    assert float(loss.total.detach()) == pytest.approx(float((pairs.total + alone.total).detach()), abs=1e-5)
    assert loss.codes.keys() == {"beta", "upper_nats/image", "upper_nats/sound"}
    with pytest.raises(InputError, match="give it the posteriors"):
        objective_of(terms)(embeddings, rows=rows, videos=VIDEOS)


# Private parts ------------------------------------------------------------------------------------


def private_codes() -> dict[str, Codes]:
    dim = SHARED + PRIVATE
    places = torch.tensor([1, 2, 3, 5])
    return {
        "image": codes_of(posterior(6, seed=0, dim=dim)),
        "sound": Codes(posterior(4, seed=1, dim=dim), places, VIDEOS[places]),
    }


def test_clips_of_both_views_are_met_in_one_order() -> None:
    codes = private_codes()
    image, sound = of_both(codes["image"], codes["sound"])
    assert image.clips.tolist() == sound.clips.tolist() == [1, 2, 3, 5]
    assert torch.equal(image.posterior.mean, codes["image"].posterior.mean[[1, 2, 3, 5]])
    assert torch.equal(sound.posterior.mean, codes["sound"].posterior.mean)


def test_private_terms_are_the_known_density_s_nce_and_a_contrast_of_learned_densities() -> None:
    torch.manual_seed(0)
    codes = private_codes()
    parts = PrivateParts(Private(), pairs=[("image", "sound")], shared_dim=SHARED, private_dim=PRIVATE)
    terms = parts(codes)
    assert set(terms.apart) == {"image~sound", "sound~image"}
    p = codes["image"].part(SHARED, SHARED + PRIVATE)
    lower = []
    for i in range(6):
        others = [j for j in range(6) if VIDEOS[i] != VIDEOS[j]]
        logs = {j: float(density(p, j).log_prob(p.sample[i])) for j in [i, *others]}
        lower.append(logs[i] - math.log(sum(map(math.exp, logs.values()))) + math.log(1 + len(others)))
    assert float(terms.lower["image"].detach()) == pytest.approx(sum(lower) / 6, abs=1e-5)
    image, sound = of_both(codes["image"], codes["sound"])
    logs = parts.densities["image~sound"](image.posterior.sample[:, SHARED:], sound.posterior.sample).detach()
    contrast = []
    for i in range(4):
        others = [j for j in range(4) if image.videos[i] != image.videos[j]]
        contrast.append(float(logs[i, i]) - sum(float(logs[i, j]) for j in others) / len(others))
    assert float(terms.apart["image~sound"].detach()) == pytest.approx(sum(contrast) / 4, abs=1e-5)


def test_what_is_minimized_moves_the_private_part_and_neither_the_other_view_nor_the_densities() -> None:
    codes = private_codes()
    leaves = {}
    for name, its in codes.items():
        sample = its.posterior.sample.clone().requires_grad_()
        leaves[name] = sample
        codes[name] = Codes(its.posterior._replace(sample=sample), its.clips, its.videos)
    parts = PrivateParts(Private(), pairs=[("image", "sound")], shared_dim=SHARED, private_dim=PRIVATE)
    parts(codes).apart["image~sound"].backward()
    assert float(leaves["image"].grad[:, SHARED:].abs().max()) > 0
    assert float(leaves["image"].grad[:, :SHARED].abs().max()) == 0
    assert leaves["sound"].grad is None or float(leaves["sound"].grad.abs().max()) == 0
    assert not any(parameter.requires_grad for parameter in parts.parameters())


def test_densities_learn_what_the_other_code_says_and_the_estimate_finds_it() -> None:
    torch.manual_seed(0)
    settings = Private(density_steps=100, density_learning_rate=1e-2, density_hidden=8)
    parts = PrivateParts(settings, pairs=[("image", "sound")], shared_dim=SHARED, private_dim=PRIVATE)
    optimizer = parts.optimizer()
    generator = torch.Generator().manual_seed(0)
    sound = torch.randn(900, SHARED + PRIVATE, generator=generator)
    noise = torch.randn(900, SHARED + PRIVATE, generator=generator)
    image = noise.clone()
    image[:, SHARED:] = (
        0.8 * sound[:, :PRIVATE] + 0.6 * noise[:, SHARED:]
    )  # correlation 0.8: known from the sound
    zero = torch.zeros_like(image)
    codes = {
        "image": codes_of(Posterior(image, zero, image), torch.arange(900)),
        "sound": codes_of(Posterior(sound, zero, sound), torch.arange(900)),
    }
    for _ in range(3):
        parts.fit(codes, optimizer)
    apart = parts(codes).apart
    # CLUB of a Gaussian channel: ρ² / (1 − ρ²) for each of the two coordinates.
    assert float(apart["image~sound"]) == pytest.approx(2 * 0.64 / 0.36, rel=0.25)
    assert not any(parameter.requires_grad for parameter in parts.parameters())


def test_the_objective_s_optimizer_never_sees_the_densities() -> None:
    objective = objective_of(terms_of(None, private_dim=PRIVATE))
    assert not any("densities" in n for n, p in objective.named_parameters() if p.requires_grad)
    assert any("densities" in name for name in objective.state_dict())


def test_codes_of_a_batch_are_laid_out_by_the_clips_that_have_the_view() -> None:
    some = posterior(3, seed=4)
    codes = join_codes(
        {"sound": some},
        views=("image", "sound"),
        rows={"sound": torch.tensor([1, 2, 5])},
        videos=VIDEOS,
    )
    assert codes["sound"].videos.tolist() == [4, 9, 7]
    assert torch.equal(codes["sound"].posterior.sample, some.sample)
    assert len(codes["image"].clips) == 0
