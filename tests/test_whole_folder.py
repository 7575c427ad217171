"""Folders that are written whole or not at all, whenever the process is killed."""

import os
from pathlib import Path

import pytest

from avmi import whole_folder
from avmi.whole_folder import (
    damaged_files,
    recover,
    remove_folder,
    replace_folder,
    replace_text,
    sha256_of,
    temporary_beside,
)


def folder_of(path: Path, text: str) -> Path:
    path.mkdir(parents=True)
    (path / f"{text}.txt").write_text(text)
    return path


def test_replacing_a_folder_keeps_the_new_one_alone(tmp_path: Path) -> None:
    old = folder_of(tmp_path / "step", "old")
    replace_folder(folder_of(tmp_path / "new", "new"), old)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "step", "step/new.txt"
    ]  # fmt: skip


class KilledError(BaseException):
    """Stands for a signal: nothing in the project catches it."""


@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_kill_between_the_renames_loses_neither_the_old_folder_nor_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    step = folder_of(tmp_path / "step", "old")
    temporary = temporary_beside(step)
    (temporary / "new.txt").write_text("new")
    rename, renamed = Path.rename, []

    def killed(self: Path, target: Path) -> Path:
        if len(renamed) == done:
            raise KilledError
        renamed.append(target)
        return rename(self, target)

    def dead(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        patch.setattr(whole_folder.shutil, "rmtree", dead)
        with pytest.raises(KilledError):
            replace_folder(temporary, step)
    recover(tmp_path)
    kept = "new" if done == 2 else "old"
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "step", f"step/{kept}.txt"
    ]  # fmt: skip


def test_a_folder_that_is_half_removed_is_removed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "step", "old")
    with monkeypatch.context() as patch:
        patch.setattr(whole_folder.shutil, "rmtree", lambda *_, **__: None)  # killed there
        remove_folder(folder)
    assert not folder.exists()
    recover(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_text_is_replaced_whole_and_synced_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    monkeypatch.setattr(whole_folder.os, "fsync", noted)
    replace_text(tmp_path / "best.txt", "step 1")
    replace_text(tmp_path / "best.txt", "step 2")
    assert (tmp_path / "best.txt").read_text() == "step 2"
    assert [path.name for path in tmp_path.iterdir()] == ["best.txt"]
    assert synced == 2 * ["best.txt.tmp", tmp_path.name]


def test_files_that_are_missing_or_others_are_listed(tmp_path: Path) -> None:
    for name in ("same", "other"):
        (tmp_path / name).write_text(name)
    hashes = {name: sha256_of(tmp_path / name) for name in ("same", "other")} | {"gone": "0"}
    (tmp_path / "other").write_text("OTHER")
    assert damaged_files(tmp_path, hashes) == [tmp_path / "other", tmp_path / "gone"]


def test_there_is_nothing_to_put_in_order_where_nothing_is(tmp_path: Path) -> None:
    recover(tmp_path / "none")
    assert not (tmp_path / "none").exists()
