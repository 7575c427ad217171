"""Every kind of view and both pools of negatives, from a configuration to a checkpoint that embeds."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from avmi.corpus.manifest import read_manifest
from avmi.embedder import ClipVectors, load
from avmi.training.watching.log import read_metrics
from avmi.workflows.pretrain import PretrainResult, pretrain

TIMES = ("clips_per_second", "data_wait_share")

EIGHT_KINDS: dict[str, Any] = {
    "image": {"kind": "frame", "at_seconds": 0.5},
    "crop": {"kind": "frame", "at_seconds": 0.5, "augment": "strong"},
    "motion": {"kind": "frame", "at_seconds": 0.5, "frames": 3, "motion": "differences"},
    "sound": {"kind": "audio", "window_seconds": 0.8},
    "later": {"kind": "audio", "at_seconds": 1.0, "window_seconds": 0.6, "augment": "light"},
    "before": {"kind": "audio", "at_seconds": -0.6, "window_seconds": 0.3},
    "image_mid": {"kind": "feature", "of": "image", "layer": "stage3", "grid": 2},
    "image_out": {"kind": "feature", "of": "image", "layer": "output"},
    "sound_mid": {"kind": "feature", "of": "sound", "layer": "stage3", "grid": 2},
}
# All two of nine views but image and its own output.
PAIRS = 9 * 8 // 2 - 1


def everything(tiny_config: Any, corpus: Path, run: Path) -> Any:
    return tiny_config(
        corpus,
        run,
        views=EIGHT_KINDS,
        pairs="all",
        negatives=["other_videos", {"pool": "same_video", "count": 2, "weight": 0.5}],
        data={"batch_clips": 12, "clips_per_video": 4},
        optimizer={"steps": 3},
    )


def curve(run: Path) -> list[dict[str, Any]]:
    """The logged curve without what depends on the machine."""
    records = read_metrics(run / "metrics.jsonl")
    return [{k: v for k, v in record.items() if k not in TIMES} for record in records]


def of_kind(run: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in read_metrics(run / "metrics.jsonl") if record["kind"] == kind]


@pytest.fixture(scope="module")
def trained(
    tiny_corpus: Path, tiny_config: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, PretrainResult]:
    run = tmp_path_factory.mktemp("views") / "run"
    return run, pretrain(everything(tiny_config, tiny_corpus, run))


def test_every_pair_has_a_term_for_each_pool_and_all_of_them_are_finite(
    trained: tuple[Path, PretrainResult],
) -> None:
    run, result = trained
    for record in of_kind(run, "train"):
        losses = {name: value for name, value in record.items() if name.startswith("loss/")}
        assert len(losses) == 2 * PAIRS
        assert {"loss/image_mid~sound_mid", "loss/before~sound_mid@same_video"} <= set(losses)
        assert all(math.isfinite(value) for name, value in record.items() if name != "kind")
        # Four clips of each of three videos: at most eight negatives of other videos.
        assert 0 < record["ceiling_nats/image~sound"] <= math.log(9) + 1e-5
        assert record["ceiling_nats/sound~image_mid@same_video"] <= math.log(3) + 1e-5
        assert 0 < record["clips/image~before"] <= 12
    # A wide view is missing from clips that a narrow pair was cut for.
    assert any(record["clips/later~before"] < record["clips/image~crop"] for record in of_kind(run, "train"))
    assert {f"bound_nats/{name}" for name in ("sound~image_mid", "motion~sound@same_video")} <= set(
        result.valid
    )
    assert result.valid["image_to_audio/median_rank"] >= 1


def test_the_checkpoint_loads_and_embeds_and_evaluates(
    trained: tuple[Path, PretrainResult], tiny_corpus: Path
) -> None:
    from avmi.workflows.evaluate import evaluate_retrieval

    model = load(trained[1].checkpoint, device="cpu")
    assert model.retrieval_views == ("image", "sound")
    assert set(model.encoders.feature_heads) == {"image_mid", "image_out", "sound_mid"}
    test = read_manifest(tiny_corpus).split("test")
    vectors = ClipVectors.join(model.embed_manifest(test, clips_per_video=1))
    assert vectors.image.shape == vectors.audio.shape == (3, 12)
    moved = ClipVectors.join(model.embed_manifest(test, clips_per_video=1, views=("motion", "before")))
    assert bool(moved.image.isfinite().all())
    found = evaluate_retrieval(trained[1].checkpoint, tiny_corpus).as_json()
    assert found["gallery"] == 6
    assert 0 <= found["image_to_audio"]["recall@1"] <= 1


def test_a_run_of_every_kind_of_view_resumes_bit_for_bit(
    trained: tuple[Path, PretrainResult],
    tiny_corpus: Path,
    tiny_config: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from avmi.training import loop

    take_step, taken = loop.optimizer_step, []

    def stopping(*arguments: Any, **settings: Any) -> Any:
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(1)
        return take_step(*arguments, **settings)

    monkeypatch.setattr(loop, "optimizer_step", stopping)
    config = everything(tiny_config, tiny_corpus, tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        pretrain(config)
    monkeypatch.undo()
    pretrain(config, resume=True)
    assert curve(tmp_path / "broken") == curve(trained[0])
    files = ("weights.safetensors", "objective.safetensors")
    for file in files:
        ours, theirs = (
            load_file(run / "checkpoints" / "step_00000003" / file)
            for run in (tmp_path / "broken", trained[0])
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_result_says_retrieval_and_the_mean_and_a_few_of_many_terms(
    trained: tuple[Path, PretrainResult],
) -> None:
    run, result = trained
    lines = result.as_text().splitlines()
    said = [line.split(":")[0].strip() for line in lines]
    assert {"valid bound_nats", "valid image_to_audio/recall@1", "valid same_label@1"} <= set(said)
    terms = [line for line in lines if "nats of at most" in line]
    assert len(terms) == 12
    known = sum(name.startswith("bound_nats/") for name in result.valid)
    assert known > 40
    assert lines[-1] == f"  and {known - 12} more in {run / 'metrics.jsonl'}"
    assert len(lines) < 30
    value, ceiling = (result.valid[f"{kind}_nats/image~crop"] for kind in ("bound", "ceiling"))
    assert terms[0] == f"  valid image~crop: {value:.3f} nats of at most {ceiling:.3f}"
    few = PretrainResult(
        run, 3, 1.0, result.checkpoint, {"bound_nats": 0.5, "bound_nats/a~b": 0.5, "ceiling_nats/a~b": 2.0}
    )
    assert few.as_text().splitlines()[1:] == [
        "  valid bound_nats: 0.500",
        "  valid a~b: 0.500 nats of at most 2.000",
    ]
    assert result.as_json()["valid"] == dict(result.valid)


# Offsets that few videos reach --------------------------------------------------------------------


def far_config(tiny_config: Any, corpus: Path, run: Path, *, at_seconds: float, **changes: Any) -> Any:
    views = {
        "image": {"kind": "frame"},
        "sound": {"kind": "audio", "window_seconds": 0.6},
        "far": {"kind": "audio", "at_seconds": at_seconds, "window_seconds": 0.6},
    }
    return tiny_config(corpus, run, views=views, **changes)


def test_a_far_offset_is_masked_and_batches_that_lack_it_are_counted(
    tiny_corpus: Path, tiny_config: Any, tmp_path: Path
) -> None:
    # Videos of 3 to 3.2 s: clips from the first 0.6 s or so reach the second that is told of, others do not.
    config = far_config(
        tiny_config,
        tiny_corpus,
        tmp_path / "run",
        at_seconds=1.9,
        data={"batch_clips": 4},
        optimizer={"steps": 12},
        logging={"evaluate_every_steps": 12, "checkpoint_every_steps": 12},
    )
    pretrain(config)
    records = of_kind(tmp_path / "run", "train")
    for record in records:
        assert record["skipped_batches/image~far"] == float(record["clips/image~far"] == 0)
        assert record["skipped_batches/image~sound"] == 0
        assert record["clips/image~far"] <= record["clips/image~sound"] == 4
        left = record["loss/image~sound"]
        if record["clips/image~far"] == 0:
            assert record["loss"] == pytest.approx(left, abs=1e-6)
        else:
            assert record["loss"] == pytest.approx((left + record["loss/image~far"]) / 2, abs=1e-6)
    assert 0 < sum(record["skipped_batches/image~far"] for record in records) < len(records)


def test_every_batch_of_a_step_is_counted(
    tiny_corpus: Path, tiny_config: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The longest videos have 3.17 s: one clip in a hundred reaches it, never two of a batch.
    config = far_config(
        tiny_config,
        tiny_corpus,
        tmp_path / "run",
        at_seconds=2.53,
        data={"batch_clips": 2},
        optimizer={"steps": 2, "accumulation_steps": 3},
    )
    pretrain(config)
    assert [r["skipped_batches/image~far"] for r in of_kind(tmp_path / "run", "train")] == [3.0, 3.0]
    assert [m for m in caplog.messages if m.startswith("image~far was left out of 3 batches")]
