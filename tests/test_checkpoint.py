"""Encoders ↔ a checkpoint folder: the same embeddings come back, or one clear sentence."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from corpora import tiny_config
from safetensors.torch import load_file, save_file
from torch import Tensor

from avmi import checkpoint
from avmi.checkpoint import (
    Checkpoint,
    find_checkpoint,
    load_checkpoint,
    read_meta,
    save_checkpoint,
    step_folders,
    tensors_of,
)
from avmi.errors import CheckpointError
from avmi.models.encoders import Encoders, LogMelStatistics

VIEWS = {
    "image": {"kind": "frame", "at_seconds": 0.5},
    "motion": {"kind": "frame", "frames": 3},
    "sound": {"kind": "audio", "window_seconds": 1.0},
}


def config_of(folder: Path, **changes: object):
    return tiny_config(folder / "corpus", folder / "run", **{"views": VIEWS, **changes})


def encoders_of(folder: Path, *, seed: int = 0, **changes: object) -> Encoders:
    torch.manual_seed(seed)
    config = config_of(folder, **changes)
    return Encoders(config.views, config.encoders, log_mel=LogMelStatistics(-5.25, 3.125))


def save(folder: Path, *, base: Path, seed: int = 0, step: int = 1) -> str:
    return save_checkpoint(
        folder,
        encoders_of(base, seed=seed),
        config=config_of(base),
        step=step,
        metrics={"bound_nats": 0.25, "image_to_audio/recall@1": 0.5},
        train_videos=["b2", "a1", "c3"],
    )


def views() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(3)
    return {
        "image": torch.randint(0, 256, (3, 3, 32, 32), generator=g, dtype=torch.uint8),
        "motion": torch.randint(0, 256, (2, 9, 32, 32), generator=g, dtype=torch.uint8),
        "sound": torch.randn(4, 1, 16, 98, generator=g),
    }


@torch.no_grad()
def embeddings_of(encoders: Encoders) -> dict[str, Tensor]:
    return encoders.eval()(views())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(tmp_path / "checkpoint", base=tmp_path)
    return tmp_path / "checkpoint"


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_what_was_saved_embeds_to_the_very_same_bits(tmp_path: Path, saved: Path) -> None:
    found = load_checkpoint(saved)
    assert not found.encoders.training
    for name, embedding in embeddings_of(encoders_of(tmp_path)).items():
        assert torch.equal(embeddings_of(found.encoders)[name], embedding)
    other = embeddings_of(encoders_of(tmp_path, seed=1))
    assert not torch.allclose(embeddings_of(found.encoders)["sound"], other["sound"], atol=1e-3)


def test_batch_norm_statistics_come_back(tmp_path: Path) -> None:
    changes = {"encoders": {"image": {"name": "shufflenet_v2_x0_5"}}}
    encoders = encoders_of(tmp_path, **changes)
    encoders.train()(views())  # moves the running mean and variance
    config = config_of(tmp_path, **changes)
    save_checkpoint(tmp_path / "c", encoders, config=config, step=1, metrics={}, train_videos=[])
    found = load_checkpoint(tmp_path / "c").encoders
    for name, embedding in embeddings_of(encoders).items():
        assert torch.equal(embeddings_of(found)[name], embedding)


def test_all_that_is_known_of_the_training_comes_back(tmp_path: Path, saved: Path) -> None:
    found = load_checkpoint(saved)
    assert found.config == config_of(tmp_path)
    assert found.step == 1
    assert found.metrics == {"bound_nats": 0.25, "image_to_audio/recall@1": 0.5}
    assert found.train_videos == {"a1", "b2", "c3"}
    assert found.folder == saved
    assert found.model_hash == hashlib.sha256((saved / "weights.safetensors").read_bytes()).hexdigest()
    assert {field.name for field in dataclasses.fields(Checkpoint)} == {
        "encoders", "config", "folder", "model_hash", "step", "metrics", "train_videos"
    }  # fmt: skip


def test_the_folder_holds_plain_files_and_no_code(saved: Path) -> None:
    names = {"weights.safetensors", "config.yaml", "train_videos.txt"}
    assert {path.name for path in saved.iterdir()} == {*names, "meta.json"}
    hashes = {name: hashlib.sha256((saved / name).read_bytes()).hexdigest() for name in names}
    assert json.loads((saved / "meta.json").read_text())["files"] == hashes
    assert yaml.safe_load((saved / "config.yaml").read_text())["image"]["size_px"] == 32
    assert json.loads((saved / "meta.json").read_text())["format_version"] == 1
    weights = load_file(saved / "weights.safetensors")
    assert float(weights["by_name.audio.mean"]) == -5.25
    assert float(weights["by_name.audio.std"]) == 3.125


def test_a_checkpoint_moves_and_needs_neither_corpus_nor_initial_weights(tmp_path: Path) -> None:
    encoders = encoders_of(tmp_path)
    weights = tmp_path / "initial.safetensors"
    save_file(tensors_of(encoders.encoder("sound").backbone), weights)
    changes = {"encoders": {"audio": {"name": "small_conv", "width": 8, "weights": weights}}}
    config = config_of(tmp_path, **changes)
    save_checkpoint(tmp_path / "a" / "c", encoders, config=config, step=1, metrics={}, train_videos=[])
    weights.unlink()
    shutil.move(tmp_path / "a" / "c", tmp_path / "moved")

    found = load_checkpoint(tmp_path / "moved")
    assert found.config.encoders.audio.weights == weights
    assert torch.equal(embeddings_of(found.encoders)["sound"], embeddings_of(encoders)["sound"])


# Damage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0.02, 0.5, 0.99])
def test_one_flipped_bit_of_the_weights_is_noticed(saved: Path, place: float) -> None:
    weights = saved / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[int(place * len(data))] ^= 1
    weights.write_bytes(bytes(data))
    assert "weights.safetensors is missing or damaged" in refusal(saved)


@pytest.mark.parametrize("name", ["weights.safetensors", "config.yaml", "train_videos.txt"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert f"{name} is missing or damaged" in refusal(saved)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: text.index("views:") + 20],
        lambda text: text.replace("views:", "vews:"),
        lambda text: "",
    ],
    ids=["cut off", "misspelt", "empty"],
)
def test_a_damaged_config_is_a_broken_checkpoint(saved: Path, damage: Callable[[str], str]) -> None:
    config = saved / "config.yaml"
    config.write_text(damage(config.read_text()))
    assert "config.yaml is missing or damaged" in refusal(saved)


def without_hashes(saved: Path, **changes: object) -> None:
    """Write the meta file as avmi did before all files had hashes."""
    meta = {**json.loads((saved / "meta.json").read_text()), **changes}
    del meta["files"], meta["meta_hash"]
    (saved / "meta.json").write_text(json.dumps(meta))


def test_a_checkpoint_of_an_older_avmi_is_loaded(tmp_path: Path, saved: Path) -> None:
    without_hashes(saved)
    found = load_checkpoint(saved)
    assert (found.step, found.train_videos) == (1, {"a1", "b2", "c3"})
    assert torch.equal(embeddings_of(found.encoders)["sound"], embeddings_of(encoders_of(tmp_path))["sound"])


def test_another_number_in_the_meta_file_is_noticed(saved: Path) -> None:
    text = (saved / "meta.json").read_text()
    assert text.count("0.25") == 1
    (saved / "meta.json").write_text(text.replace("0.25", "0.35"))
    assert "meta.json is damaged" in refusal(saved)


def test_a_config_without_its_end_does_not_fit_the_weights_in_one_line(saved: Path) -> None:
    without_hashes(saved)
    config = saved / "config.yaml"
    config.write_text(config.read_text().partition("encoders:")[0])
    assert "does not fit the model of its config" in refusal(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '"format_version"', '{"step": 1}'])
def test_a_damaged_meta_file_is_named(saved: Path, text: str) -> None:
    (saved / "meta.json").write_text(text)
    assert "meta.json is not a checkpoint's" in refusal(saved)


@pytest.mark.parametrize("lost", ["model_hash", "step"])
def test_a_meta_file_without_what_is_needed_is_refused(saved: Path, lost: str) -> None:
    meta = json.loads((saved / "meta.json").read_text())
    del meta[lost]
    (saved / "meta.json").write_text(json.dumps(meta))
    assert "meta.json lacks model_hash or step" in refusal(saved)


def test_another_format_is_refused_with_both_numbers(saved: Path) -> None:
    meta = json.loads((saved / "meta.json").read_text())
    (saved / "meta.json").write_text(json.dumps({**meta, "format_version": 2}))
    said = refusal(saved)
    assert "checkpoint format 2" in said
    assert "reads 1" in said


def test_weights_of_another_network_do_not_fit_the_config(tmp_path: Path, saved: Path) -> None:
    state = encoders_of(tmp_path, encoders={"head": {"embedding_dim": 5}}).state_dict()
    weights = saved / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, weights)
    without_hashes(saved, model_hash=hashlib.sha256(weights.read_bytes()).hexdigest())
    with pytest.raises(CheckpointError, match="does not fit the model of its config"):
        load_checkpoint(saved)


def test_no_folder_an_empty_folder_and_a_file_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert "no such checkpoint or run folder" in refusal(tmp_path / "nothing")
    assert "no such checkpoint or run folder" in refusal(tmp_path / "file")
    assert "holds no checkpoint" in refusal(tmp_path / "empty")


# Writing ------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """Stands for a signal: nothing in the project catches it."""


@pytest.mark.parametrize("moment", ["save_file", "dump_config", "sync_folder", "replace_folder"])
def test_a_write_that_is_cut_short_leaves_nothing_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    run = tmp_path / "run"
    save(run / "checkpoints" / "step_00000001", base=tmp_path)

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, moment, killed)
        patch.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)  # the dead do not tidy up
        with pytest.raises(KilledError):
            save(run / "checkpoints" / "step_00000002", base=tmp_path, step=2)
    assert len(list((run / "checkpoints").iterdir())) == 2

    assert [folder.name for folder in step_folders(run)] == ["step_00000001"]
    assert load_checkpoint(run).step == 1
    save(run / "checkpoints" / "step_00000002", base=tmp_path, step=2)
    assert load_checkpoint(run).step == 2


def test_a_failed_write_leaves_no_temporary_folder(tmp_path: Path) -> None:
    def no_space(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(
            tmp_path / "out" / "c",
            encoders_of(tmp_path),
            config=config_of(tmp_path),
            step=1,
            metrics={},
            train_videos=[],
            write_more=no_space,
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_saving_over_a_checkpoint_replaces_all_of_it(tmp_path: Path, saved: Path) -> None:
    (saved / "left over").touch()
    save(saved, base=tmp_path, seed=1, step=2)
    assert load_checkpoint(saved).step == 2
    assert not (saved / "left over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


# Run folders --------------------------------------------------------------------------------------


def run_of(tmp_path: Path, *steps: int) -> Path:
    run = tmp_path / "run"
    for step in steps:
        save(run / "checkpoints" / f"step_{step:08d}", base=tmp_path, step=step)
    return run


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    run = run_of(tmp_path, 5, 10, 15)
    (run / "best.txt").write_text("step_00000010\n")
    assert find_checkpoint(run).name == "step_00000010"
    assert load_checkpoint(run).step == 10


def test_without_a_best_one_a_run_folder_stands_for_its_last(tmp_path: Path) -> None:
    run = run_of(tmp_path, 5, 110, 15)
    assert load_checkpoint(str(run)).step == 110
    (run / "best.txt").write_text("step_00000077\n")  # deleted by hand
    assert load_checkpoint(run).step == 110


def test_only_whole_checkpoints_of_a_run_are_listed_oldest_first(tmp_path: Path) -> None:
    run = run_of(tmp_path, 20, 3)
    (run / "checkpoints" / ".step_00000030.abc.tmp").mkdir()
    (run / "checkpoints" / "step_00000040").mkdir()  # without its files
    (run / "checkpoints" / "step_of_mine").mkdir()
    (run / "checkpoints" / "step_of_mine" / "meta.json").touch()
    assert [folder.name for folder in step_folders(run)] == ["step_00000003", "step_00000020"]
    assert read_meta(step_folders(run)[0])["step"] == 3
