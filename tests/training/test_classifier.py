"""Views of clips → class scores by encoders and a linear head."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from corpora import tiny_config, video_row

from avmi.corpus.plan import ClipSpec
from avmi.data import Batch
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.training.classifier import Classifier, classes_of, score_clips

NUMBERS = {"ant": 0, "bee": 1, "cat": 2}


@pytest.fixture
def encoders(tmp_path: Path) -> Encoders:
    torch.manual_seed(0)
    config = tiny_config(tmp_path, tmp_path / "run")
    return Encoders(config.views, config.encoders, log_mel=LogMelStatistics(-4.0, 2.0))


def batch_of(*labels: str, seed: int) -> Batch:
    g = torch.Generator().manual_seed(seed)
    clips = len(labels)
    specs = tuple(
        ClipSpec(video_row(f"{n}.mp4", label=label), 0.0, ("image", "sound"), (0.5,), (0.0, 1.0))
        for n, label in enumerate(labels)
    )
    return Batch(
        views={
            "image": torch.randint(0, 256, (clips, 3, 32, 32), generator=g, dtype=torch.uint8),
            "sound": torch.randn(clips, 1, 16, 50, generator=g),
        },
        rows={name: torch.arange(clips) for name in ("image", "sound")},
        videos=10 * seed + torch.arange(clips),
        seconds=torch.zeros(clips),
        specs=specs,
    )


EMPTY = Batch({}, {}, torch.zeros(0, dtype=torch.long), torch.zeros(0), ())


@pytest.mark.parametrize("views", [("image",), ("sound",), ("image", "sound")])
@torch.no_grad()
def test_scores_are_a_linear_layer_on_normalized_joined_features(encoders: Encoders, views) -> None:
    classifier, batch = Classifier(encoders, views, classes=3).eval(), batch_of("ant", "cat", seed=1)
    parts = [encoders.encoder(view).features(batch.views[view]) for view in views]
    joined = torch.cat(parts, dim=1).double()
    centred = joined - joined.mean(dim=1, keepdim=True)
    normalized = centred / (joined.var(dim=1, correction=0, keepdim=True) + 1e-5).sqrt()
    linear = classifier.head[1]
    wanted = normalized @ linear.weight.double().T + linear.bias.double()
    torch.testing.assert_close(classifier(batch.views).double(), wanted, atol=1e-4, rtol=1e-4)
    assert classifier.head[1].weight.shape == (3, 128 * len(views))


def test_all_parameters_of_the_views_used_are_trained(encoders: Encoders) -> None:
    classifier = Classifier(encoders, ("image",), classes=3)
    classifier(batch_of("ant", "bee", seed=1).views).sum().backward()
    moved = {name for name, p in classifier.named_parameters() if p.grad is not None}
    assert {name for name, _ in classifier.named_parameters() if "by_name.image.backbone" in name} <= moved
    assert {"head.0.weight", "head.1.weight", "head.1.bias"} <= moved
    assert not any("by_name.audio" in name for name in moved)


def test_clips_have_the_number_of_their_label() -> None:
    assert classes_of(batch_of("cat", "ant", "cat", seed=0), NUMBERS).tolist() == [2, 0, 2]
    assert classes_of(EMPTY, NUMBERS).shape == (0,)


def test_clips_are_scored_in_order_with_their_classes_and_videos(encoders: Encoders) -> None:
    classifier = Classifier(encoders, ("image", "sound"), classes=3)
    batches = [batch_of("ant", "cat", "bee", seed=1), EMPTY, batch_of("bee", "bee", seed=2)]
    scored = score_clips(classifier, iter(batches), NUMBERS, device=torch.device("cpu"))
    assert scored is not None
    assert scored.classes.tolist() == [0, 2, 1, 1, 1]
    rows = [spec.video.row_id for batch in batches for spec in batch.specs]
    same = scored.videos[:, None] == scored.videos[None, :]
    assert same.tolist() == [[one == other for other in rows] for one in rows]
    assert len(set(rows)) == 3
    torch.testing.assert_close(scored.scores.exp().sum(dim=1), torch.ones(5, dtype=torch.float64))
    with torch.no_grad():
        alone = classifier.eval()(batches[2].views).log_softmax(dim=1)
    torch.testing.assert_close(scored.scores[3:].float(), alone, atol=1e-5, rtol=1e-5)


def test_scoring_is_done_in_evaluation_mode_and_ends_in_training_mode(encoders: Encoders) -> None:
    classifier = Classifier(encoders, ("image",), classes=3).train()
    seen: list[bool] = []
    classifier.head.register_forward_hook(lambda module, *_: seen.append(module.training))

    def batches() -> Iterator[Batch]:
        yield batch_of("ant", seed=1)

    score_clips(classifier, batches(), NUMBERS, device=torch.device("cpu"))
    assert seen == [False]
    assert classifier.training


def test_without_clips_there_are_no_scores(encoders: Encoders) -> None:
    classifier = Classifier(encoders, ("image",), classes=3)
    assert score_clips(classifier, [EMPTY], NUMBERS, device=torch.device("cpu")) is None
