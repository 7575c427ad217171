"""A run's settings and state ↔ its folder: who may begin, what is kept, what comes back."""

import logging
from pathlib import Path

import pytest
import torch
from corpora import tiny_config
from torch import Tensor

from avmi.checkpoint import find_checkpoint, load_checkpoint
from avmi.config.load import load_config
from avmi.config.schema import PretrainConfig
from avmi.errors import CheckpointError, UsageError
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.objective import Objective
from avmi.training.optimizer import build_optimizer, build_schedule
from avmi.training.run_folder import Trained, best_metrics, claim, restore, save
from avmi.views.graph import build_graph


def config_of(tmp_path: Path, **changes: object) -> PretrainConfig:
    return tiny_config(tmp_path / "corpus", tmp_path / "run", **changes)


# Beginning ----------------------------------------------------------------------------------------


def test_a_claimed_folder_holds_the_resolved_config(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    claim(config.run, config, resume=False)
    assert [path.name for path in config.run.iterdir()] == ["config.yaml"]
    assert load_config(config.run / "config.yaml", schema=PretrainConfig) == config


def test_an_empty_folder_may_be_claimed(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.run.mkdir()
    claim(config.run, config, resume=False)
    assert (config.run / "config.yaml").is_file()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.run.mkdir()
    (config.run / "thesis.tex").touch()
    for resume in (False, True):
        with pytest.raises(UsageError, match="is not empty and holds no run"):
            claim(config.run, config, resume=resume)
    assert [path.name for path in config.run.iterdir()] == ["thesis.tex"]


def test_a_run_is_gone_on_with_only_when_asked_to(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    claim(config.run, config, resume=False)
    with pytest.raises(UsageError, match="already holds a run: add --resume"):
        claim(config.run, config, resume=False)
    claim(config.run, config, resume=True)


def test_resuming_what_has_not_begun_begins_it(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    claim(config.run, config, resume=True)
    assert (config.run / "config.yaml").is_file()


def test_a_run_is_not_gone_on_with_under_other_settings(tmp_path: Path) -> None:
    claim(tmp_path / "run", config_of(tmp_path), resume=False)
    before = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(UsageError, match="begun with other settings"):
        claim(tmp_path / "run", config_of(tmp_path, seed=3), resume=True)
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for run in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError, match="cannot be written"):
            claim(run, config_of(tmp_path), resume=False)


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
    settings = {"is_best": False, "keep": 2, "metrics": {"bound_nats": step / 10}, **changes}
    save(config.run, trained, config=config, step=step, train_videos=["a"], **settings)


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
    assert restore(config.run, resumed) == 3
    assert resumed.schedule.get_last_lr() == pytest.approx([3e-3] * 2, rel=0.2)
    train(resumed, steps=2)
    for name, tensor in state_of(through).items():
        assert torch.equal(state_of(resumed)[name], tensor), name
    assert resumed.schedule.get_last_lr() == through.schedule.get_last_lr()


def test_a_run_without_checkpoints_starts_at_zero(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    trained = trained_of(config)
    before = {name: tensor.clone() for name, tensor in state_of(trained).items()}
    assert restore(config.run, trained) == 0
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


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip_a_bit(folder / "weights.safetensors"),
        lambda folder: (folder / "weights.safetensors").unlink(),
        lambda folder: (folder / "training_state.pt").write_bytes(b"cut off"),
        lambda folder: (folder / "training_state.pt").unlink(),
        lambda folder: (folder / "objective.safetensors").write_bytes(b"no tensors"),
        lambda folder: (folder / "meta.json").write_text("{"),
    ],
    ids=["weights", "no weights", "state", "no state", "temperature", "meta"],
)
def test_a_damaged_newest_checkpoint_is_passed_over(
    tmp_path: Path, run: Path, damage, caplog: pytest.LogCaptureFixture
) -> None:
    damage(run / "checkpoints" / "step_00000004")
    config, trained = config_of(tmp_path), trained_of(config_of(tmp_path), seed=1)
    with caplog.at_level(logging.WARNING):
        assert restore(run, trained) == 2
    assert "step_00000004" in caplog.text
    assert "going back to the checkpoint before it" in caplog.text

    untouched = trained_of(config)
    train(untouched, steps=2)
    for name, tensor in state_of(untouched).items():
        assert torch.equal(state_of(trained)[name], tensor), name


def test_when_every_checkpoint_is_damaged_the_run_does_not_start_over_silently(
    tmp_path: Path, run: Path
) -> None:
    for step in (2, 4):
        flip_a_bit(run / "checkpoints" / f"step_{step:08d}" / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"no checkpoint of .* can be resumed \(.*step_00000004"):
        restore(run, trained_of(config_of(tmp_path)))
