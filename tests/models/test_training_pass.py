"""Encoders as training calls them: draws of codes and their posteriors; users get the mean."""

import pytest
import torch
import torch.nn.functional as F

from avmi.config.parts import Backbone, Head
from avmi.config.parts import Encoders as EncoderSettings
from avmi.config.views import AudioView, FeatureView, FrameView, View
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.models.training_pass import TrainingPass

VIEWS: dict[str, View] = {
    "image": FrameView(kind="frame"),
    "later": FrameView(kind="frame", at_seconds=2.0),
    "sound": AudioView(kind="audio", window_seconds=0.425),
    "sound_out": FeatureView(kind="feature", of="sound", layer="output"),
}


def encoders_of(**head: object) -> Encoders:
    torch.manual_seed(0)
    small = Backbone(name="small_conv", width=8)
    settings = EncoderSettings(image=small, audio=small, head=Head(hidden_dims=(9,), embedding_dim=7, **head))
    return Encoders(VIEWS, settings, log_mel=LogMelStatistics(-4.0, 3.0))


def views() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.randint(0, 256, (5, 3, 32, 32), generator=generator, dtype=torch.uint8),
        "sound": torch.randn(4, 1, 16, 41, generator=generator) * 3 - 4,
        "later": torch.randint(0, 256, (3, 3, 32, 32), generator=generator, dtype=torch.uint8),
    }


def test_without_posteriors_training_sees_what_users_see() -> None:
    encoders = encoders_of()
    encoded = TrainingPass(encoders)(views())
    assert encoded.posteriors == {}
    expected = encoders(views())
    assert encoded.embeddings.keys() == expected.keys()
    assert all(torch.equal(encoded.embeddings[name], expected[name]) for name in expected)


def test_embeddings_are_draws_of_the_posteriors_over_their_length() -> None:
    encoders = encoders_of(posterior="gaussian", private_dim=2)
    torch.manual_seed(3)
    encoded = TrainingPass(encoders)(views())
    clips = {"image": 5, "later": 3, "sound": 4, "sound_out": 4}
    assert {name: len(p.mean) for name, p in encoded.posteriors.items()} == clips
    for name, posterior in encoded.posteriors.items():
        assert posterior.mean.shape == posterior.log_sigma.shape == posterior.sample.shape == (clips[name], 9)
        torch.testing.assert_close(encoded.embeddings[name], F.normalize(posterior.sample[:, :7], dim=1))
        assert not torch.equal(posterior.sample, posterior.mean)


def test_users_get_the_mean_in_both_modes() -> None:
    encoders = encoders_of(posterior="gaussian")
    posteriors = TrainingPass(encoders)(views()).posteriors
    for found in (encoders(views()), encoders(views()), encoders.eval()(views())):
        assert list(found) == ["image", "sound", "later", "sound_out"]
        for name, embedding in found.items():
            torch.testing.assert_close(embedding, F.normalize(posteriors[name].mean, dim=1))


def test_the_random_state_alone_decides_the_draws() -> None:
    training = TrainingPass(encoders_of(posterior="gaussian"))
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(training(views()).embeddings["image"])
    assert torch.equal(drawn[0], drawn[1])
    assert (drawn[0] - drawn[2]).abs().max().item() > 1e-3


def test_draws_carry_gradients_to_mean_and_deviation() -> None:
    encoders = encoders_of(posterior="gaussian")
    TrainingPass(encoders)(views()).embeddings["sound"].sum().backward()
    last = encoders.encoder("sound").head.layers[-1].weight.grad
    assert last is not None
    assert last[:7].abs().max().item() > 0
    assert last[7:].abs().max().item() > 0


@pytest.mark.parametrize("private_dim", [0, 2])
def test_the_length_of_an_embedding_is_that_of_the_shared_part(private_dim: int) -> None:
    encoders = encoders_of(posterior="gaussian", private_dim=private_dim)
    assert {e.shape[1] for e in encoders(views()).values()} == {7}


def test_the_noise_of_untrained_heads_is_small_in_the_shared_part_alone() -> None:
    posterior = TrainingPass(encoders_of(posterior="gaussian", private_dim=2))(views()).posteriors["image"]
    shared, private = posterior.log_sigma[:, :7], posterior.log_sigma[:, 7:]
    assert shared.max().item() < -2
    assert float(private.min()) > -1.7
