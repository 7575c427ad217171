"""A run's state ↔ its folder: what is kept, what comes back, what is damaged."""

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from corpora import tiny_config
from torch import Tensor

from avmi.checkpoint import find_checkpoint, load_checkpoint
from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import Reject
from avmi.data import Batch
from avmi.errors import CheckpointError
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.objective import Objective
from avmi.training.optimizer import build_optimizer, build_schedule
from avmi.training.runs.progress import Progress
from avmi.training.runs.run_folder import Trained, best_metrics, restore, save
from avmi.views.graph import build_graph


def config_of(tmp_path: Path, **changes: object) -> PretrainConfig:
    return tiny_config(tmp_path / "corpus", tmp_path / "run", **changes)


# Saving -------------------------------------------------------------------------------------------


def trained_of(config: PretrainConfig, *, seed: int = 0) -> Trained:
    torch.manual_seed(seed)
    graph = build_graph(config.views, config.pairs, bound=config.bound, negatives=config.negatives)
    encoders = Encoders(config.views, config.encoders, log_mel=LogMelStatistics(-4.0, 2.0))
    objective = Objective(graph, temperature=config.temperature)
    optimizer = build_optimizer([encoders, objective], config.optimizer)
    return Trained(encoders, objective, optimizer, build_schedule(optimizer, config.optimizer))


def views() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    return {
        "image": torch.randint(0, 256, (5, 3, 32, 32), generator=g, dtype=torch.uint8),
        "sound": torch.randn(5, 1, 16, 40, generator=g),
    }


def train(trained: Trained, *, steps: int) -> None:
    for _ in range(steps):
        trained.objective(trained.encoders(views())).total.backward()
        trained.optimizer.step()
        trained.optimizer.zero_grad()
        trained.schedule.step()


def save_step(config: PretrainConfig, trained: Trained, step: int, **changes: object) -> None:
    settings = {"is_best": False, "keep": 2, **changes}
    progress = Progress(step, 12 * step, 2, "hash of the corpus", {"bound_nats": step / 10})
    save(config.run, trained, config=config, progress=progress, train_videos=["a"], **settings)


def restored_step(run: Path, trained: Trained) -> int:
    return restore(run, trained, visits_per_step=5).step


def steps_in(run: Path) -> list[int]:
    return sorted(int(folder.name.removeprefix("step_")) for folder in (run / "checkpoints").iterdir())


def test_the_best_and_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    trained = trained_of(config)
    for step in range(1, 7):
        save_step(config, trained, step, is_best=step == 2)
    assert steps_in(config.run) == [2, 5, 6]
    assert find_checkpoint(config.run).name == "step_00000002"
    assert best_metrics(config.run) == {"bound_nats": 0.2}

    save_step(config, trained, 7, is_best=True, keep=1)
    assert steps_in(config.run) == [7]
    assert find_checkpoint(config.run).name == "step_00000007"


def test_the_first_checkpoint_is_the_best_so_far(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    save_step(config, trained_of(config), 3)
    assert find_checkpoint(config.run).name == "step_00000003"
    assert best_metrics(config.run) == {"bound_nats": 0.3}


def test_without_a_best_checkpoint_there_are_no_metrics(tmp_path: Path) -> None:
    assert best_metrics(tmp_path) == {}
    (tmp_path / "best.txt").write_text("step_00000004\n")  # its folder was deleted
    assert best_metrics(tmp_path) == {}


def test_a_saved_checkpoint_is_one_that_the_product_loads(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    trained = trained_of(config)
    save_step(config, trained, 1)
    found = load_checkpoint(config.run)
    assert (found.step, found.config, found.train_videos) == (1, config, {"a"})
    for name, tensor in found.encoders.state_dict().items():
        assert torch.equal(tensor, trained.encoders.state_dict()[name])


# Going on -----------------------------------------------------------------------------------------


def state_of(trained: Trained) -> dict[str, Tensor]:
    return {**trained.encoders.state_dict(), **trained.objective.state_dict()}


def test_a_restored_run_goes_on_to_the_very_same_bits(tmp_path: Path) -> None:
    config = config_of(tmp_path, optimizer={"steps": 20})
    through = trained_of(config)
    train(through, steps=3)
    save_step(config, through, 3)
    train(through, steps=2)

    resumed = trained_of(config, seed=1)
    assert restore(config.run, resumed, visits_per_step=5) == Progress(
        3, 36, 2, "hash of the corpus", {"bound_nats": 0.3}
    )
    assert resumed.schedule.get_last_lr() == pytest.approx([3e-3] * 2, rel=0.2)
    train(resumed, steps=2)
    for name, tensor in state_of(through).items():
        assert torch.equal(state_of(resumed)[name], tensor), name
    assert resumed.schedule.get_last_lr() == through.schedule.get_last_lr()


def test_a_run_without_checkpoints_starts_at_zero(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    trained = trained_of(config)
    before = {name: tensor.clone() for name, tensor in state_of(trained).items()}
    assert restore(config.run, trained, visits_per_step=5) == Progress()
    assert all(torch.equal(tensor, before[name]) for name, tensor in state_of(trained).items())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Give a run with checkpoints of the steps 2 and 4."""
    config = config_of(tmp_path)
    trained = trained_of(config)
    for step in (2, 4):
        train(trained, steps=2)
        save_step(config, trained, step)
    return config.run


FILES = (
    "weights.safetensors", "objective.safetensors", "training_state.pt", "config.yaml", "train_videos.txt", "meta.json"
)  # fmt: skip


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def test_the_files_of_a_checkpoint_are_those_that_are_damaged_here(run: Path) -> None:
    assert {path.name for path in (run / "checkpoints" / "step_00000004").iterdir()} == set(FILES)


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, Path.unlink], ids=["flipped", "cut", "gone"])
@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_with_a_damaged_file_is_passed_over(
    tmp_path: Path, run: Path, name: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(run / "checkpoints" / "step_00000004" / name)
    config, trained = config_of(tmp_path), trained_of(config_of(tmp_path), seed=1)
    with caplog.at_level(logging.WARNING):
        assert restored_step(run, trained) == 2
    # Without its meta file, a folder is no checkpoint.
    if (run / "checkpoints" / "step_00000004" / "meta.json").is_file():
        assert "step_00000004" in caplog.text
        assert name in caplog.text
        assert "going back to the checkpoint before it" in caplog.text

    untouched = trained_of(config)
    train(untouched, steps=2)
    for key, tensor in state_of(untouched).items():
        assert torch.equal(state_of(trained)[key], tensor), key


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_no_bit_of_the_meta_file_may_be_another(tmp_path: Path, run: Path, place: float) -> None:
    meta = run / "checkpoints" / "step_00000004" / "meta.json"
    data = bytearray(meta.read_bytes())
    data[int(place * len(data))] ^= 1
    meta.write_bytes(bytes(data))
    assert restored_step(run, trained_of(config_of(tmp_path), seed=1)) == 2


def test_a_damaged_checkpoint_is_the_best_no_more_and_counts_among_those_that_are_kept_no_more(
    tmp_path: Path, run: Path
) -> None:
    (run / "best.txt").write_text("step_00000004\n")
    flip_a_bit(run / "checkpoints" / "step_00000004" / "weights.safetensors")
    trained = trained_of(config_of(tmp_path))
    assert restored_step(run, trained) == 2
    assert find_checkpoint(run).name == "step_00000002"
    save_step(config_of(tmp_path), trained, 3, keep=1)
    assert steps_in(run) == [2, 3]
    assert restored_step(run, trained) == 3


def test_a_best_checkpoint_whose_meta_file_is_damaged_is_beaten_by_any(tmp_path: Path, run: Path) -> None:
    flip_a_bit(run / "checkpoints" / "step_00000002" / "meta.json")
    assert (run / "best.txt").read_text() == "step_00000002\n"
    assert best_metrics(run) == {}


def without_new_facts(folder: Path) -> None:
    """Write a checkpoint as avmi did before its files had hashes and its state knew of visits."""
    meta = json.loads((folder / "meta.json").read_text())
    del meta["files"], meta["meta_hash"]
    (folder / "meta.json").write_text(json.dumps(meta))
    state = torch.load(folder / "training_state.pt", weights_only=True)
    kept = {"optimizer", "schedule", "step"}
    torch.save({key: value for key, value in state.items() if key in kept}, folder / "training_state.pt")


def test_a_checkpoint_of_an_older_avmi_is_resumed(tmp_path: Path, run: Path) -> None:
    without_new_facts(run / "checkpoints" / "step_00000004")
    found = restore(run, trained_of(config_of(tmp_path), seed=1), visits_per_step=5)
    assert (found.step, found.visits, found.processes, found.corpus) == (4, 20, 1, "")


@pytest.mark.parametrize("name", ["weights.safetensors", "objective.safetensors", "training_state.pt"])
def test_damage_of_an_older_checkpoint_is_found_where_it_can_be(tmp_path: Path, run: Path, name: str) -> None:
    folder = run / "checkpoints" / "step_00000004"
    without_new_facts(folder)
    (folder / name).write_bytes(b"no tensors")
    assert restored_step(run, trained_of(config_of(tmp_path), seed=1)) == 2


def test_when_every_checkpoint_is_damaged_the_run_does_not_start_over_silently(
    tmp_path: Path, run: Path
) -> None:
    for step in (2, 4):
        flip_a_bit(run / "checkpoints" / f"step_{step:08d}" / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"no checkpoint of .* can be resumed \(.*step_00000004"):
        restored_step(run, trained_of(config_of(tmp_path)))


def test_a_checkpoint_of_another_model_is_an_error_and_not_passed_over(tmp_path: Path, run: Path) -> None:
    other = trained_of(config_of(tmp_path, encoders={"head": {"embedding_dim": 5}}))
    with pytest.raises(CheckpointError, match="does not fit the model"):
        restored_step(run, other)


def test_the_scale_of_half_precision_comes_back(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    before, after = (
        dataclasses.replace(trained_of(config), scaler=torch.amp.GradScaler("cpu", init_scale=scale))
        for scale in (2.0**9, 2.0**16)
    )
    assert before.scaler is not None
    assert after.scaler is not None
    save_step(config, before, 1)
    restored_step(config.run, after)
    assert after.scaler.state_dict() == before.scaler.state_dict()
    assert after.scaler.get_scale() == 512


def test_counts_and_warnings_come_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(tmp_path)
    before, after = trained_of(config), trained_of(config)
    refused = (Reject("a.mp4", "unreadable", "broken"), Reject("b.mp4", "time_limit", "slow"))
    before.counts.rejected.add(Batch({}, {}, torch.zeros(0, dtype=torch.int64), torch.zeros(0), (), refused))
    alike = {"effective_rank/image": 1.0, "embedding_deviation/image": 0.0, "uniform_deviation": 1.0}
    for step in (1, 2):
        before.counts.collapse.check(step, alike, kind="train")
    before.counts.overflows = 3
    save_step(config, before, 2)
    restored_step(config.run, after)
    assert after.counts.scalars() == {
        "rejected_videos": 2.0,
        "rejected_videos/time_limit": 1.0,
        "rejected_videos/unreadable": 1.0,
        "skipped_updates": 3.0,
    }
    with caplog.at_level(logging.WARNING):  # the third record in a row
        after.counts.collapse.check(3, alike, kind="train")
    assert "view image has collapsed at step 3" in caplog.text
    save_step(config, after, 3)
    restored_step(config.run, before)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        before.counts.collapse.check(4, alike, kind="train")
    assert not caplog.text
