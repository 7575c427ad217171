"""Who may write into a run folder: new runs, runs that go on, and with which settings."""

import logging
from pathlib import Path

import pytest
from corpora import tiny_config

from avmi.config.load import load_config
from avmi.config.schema import PretrainConfig
from avmi.errors import UsageError
from avmi.training.runs.claim import claimed


def config_of(tmp_path: Path, **changes: object) -> PretrainConfig:
    return tiny_config(tmp_path / "corpus", tmp_path / "run", **changes)


def claim(run: Path, config: PretrainConfig, *, resume: bool) -> None:
    with claimed(run, config, resume=resume):
        pass


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


def test_a_run_that_somebody_writes_to_is_not_taken(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    with (
        claimed(config.run, config, resume=False),
        pytest.raises(UsageError, match="another process is writing to"),
    ):
        claim(config.run, config, resume=True)
    claim(config.run, config, resume=True)


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for run in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError, match="cannot be written"):
            claim(run, config_of(tmp_path), resume=False)


# Other settings -----------------------------------------------------------------------------------


def test_settings_that_the_run_so_far_cannot_have_had_are_refused_and_named(tmp_path: Path) -> None:
    claim(tmp_path / "run", config_of(tmp_path), resume=False)
    before = (tmp_path / "run" / "config.yaml").read_text()
    changes = {"seed": 3, "optimizer": {"steps": 9}, "data": {"workers": 2, "clips_per_video": 2}}
    with pytest.raises(UsageError) as refused:
        claim(tmp_path / "run", config_of(tmp_path, **changes), resume=True)
    said = str(refused.value)
    assert "begun with other settings than these (seed: 0 -> 3; data.clips_per_video: 1 -> 2; " in said
    assert (
        "optimizer.steps: 4 -> 9 (the learning rate of every step so far was a function of their number)"
        in said
    )
    assert "workers" not in said
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_settings_that_change_neither_batches_nor_weights_may_be_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    claim(tmp_path / "run", config_of(tmp_path), resume=False)
    changed = config_of(
        tmp_path,
        logging={"keep_checkpoints": 7},
        data={"workers": 3, "time_limit_seconds": 9.0, "prefetch_batches": 2},
    )
    with caplog.at_level(logging.INFO, logger="avmi"):
        claim(tmp_path / "run", changed, resume=True)
    assert "data.workers: 0 -> 3" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert load_config(tmp_path / "run" / "config.yaml", schema=PretrainConfig) == changed


def test_a_run_folder_may_have_moved(tmp_path: Path) -> None:
    claim(tmp_path / "run", config_of(tmp_path), resume=False)
    (tmp_path / "run").rename(tmp_path / "moved")
    claim(tmp_path / "moved", tiny_config(tmp_path / "corpus", tmp_path / "moved"), resume=True)


def test_batches_of_another_size_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    claim(tmp_path / "run", config_of(tmp_path), resume=False)
    with caplog.at_level(logging.WARNING, logger="avmi"):
        claim(tmp_path / "run", config_of(tmp_path, data={"batch_clips": 12}), resume=True)
    assert "data.batch_clips: 6 -> 12: from here on the batches differ" in caplog.text


def test_a_config_that_cannot_be_read_any_more_is_named(tmp_path: Path) -> None:
    claim(tmp_path / "run", config_of(tmp_path), resume=False)
    (tmp_path / "run" / "config.yaml").write_text("views: [")
    with pytest.raises(UsageError, match=r"config\.yaml, with which this run was begun, cannot be read"):
        claim(tmp_path / "run", config_of(tmp_path), resume=True)


# What a kill left -----------------------------------------------------------------------------------


def test_what_a_killed_run_left_half_written_is_put_in_order(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    claim(config.run, config, resume=False)
    checkpoints = config.run / "checkpoints"
    for name in (
        ".step_00000004.0123abcd.tmp",  # in the making
        ".step_00000002.89abcdef.old",  # put aside, and the new one had not got the name yet
        "step_00000003",
        ".step_00000003.00ff00ff.old",  # put aside, and replaced
        ".mine.tmp",
    ):
        (checkpoints / name).mkdir(parents=True)
        (checkpoints / name / "file").write_text(name)
    claim(config.run, config, resume=True)
    assert sorted(path.name for path in checkpoints.iterdir()) == [
        ".mine.tmp",
        "step_00000002",
        "step_00000003",
    ]
    assert (checkpoints / "step_00000002" / "file").read_text() == ".step_00000002.89abcdef.old"
    assert (checkpoints / "step_00000003" / "file").read_text() == "step_00000003"
