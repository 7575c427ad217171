import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from avmi.errors import CorpusError
from data_prep.steps import Results, Step, StepFailed, fingerprint


def python_step(name: str, program: str, *, inputs: str = "in", left: Callable = lambda output: "") -> Step:
    return Step(name, ("python", "-c", program), inputs=inputs, outputs=left)


def counting(folder: Path, *, result: str = '{"n": 1}') -> str:
    """A program that leaves a mark in the folder whenever it runs, and prints a result."""
    return f"open({str(folder / 'ran')!r}, 'a').write('x'); print('''{result}''')"


def runs(folder: Path) -> int:
    return len((folder / "ran").read_text()) if (folder / "ran").exists() else 0


def test_a_step_is_printed_as_typed_and_recorded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = Results(tmp_path).run(python_step("first verb", counting(tmp_path)))
    assert done.output == {"n": 1}
    assert not done.is_kept
    assert capfd.readouterr().out.splitlines()[1].startswith("$ python -c ")
    records = json.loads((tmp_path / "results.json").read_text())
    assert records["first verb"]["output"] == {"n": 1}
    assert records["first verb"]["command"].startswith("python -c ")
    assert records["first verb"]["seconds"] > 0
    assert [path.name for path in tmp_path.iterdir() if path.name != "ran"] == ["results.json"]


def test_a_step_that_stands_is_kept_and_said_to_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Results(tmp_path).run(python_step("a", counting(tmp_path)))
    done = Results(tmp_path).run(python_step("a", counting(tmp_path)))
    assert (done.output, done.is_kept, runs(tmp_path)) == ({"n": 1}, True, 1)
    assert "unchanged since the last run, kept" in capfd.readouterr().out


def test_other_inputs_another_command_or_lost_outputs_run_a_step_again(tmp_path: Path) -> None:
    file = tmp_path / "made"
    file.write_text("1")
    program = counting(tmp_path)

    def step(inputs: str = "in", program: str = program) -> Step:
        return python_step("a", program, inputs=inputs, left=lambda _: fingerprint(file))

    counts = []
    for again in (step(), step("other"), step("other", program + "; 1"), step("other", program + "; 1")):
        Results(tmp_path).run(again)
        counts.append(runs(tmp_path))
    assert counts == [1, 2, 3, 3]
    file.unlink()
    Results(tmp_path).run(again)
    assert runs(tmp_path) == 4


def test_a_failing_command_gives_its_exit_code_and_loses_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path)
    results.run(python_step("good", counting(tmp_path)))
    program = "import sys; print('what is wrong', file=sys.stderr); sys.exit(2)"
    with pytest.raises(StepFailed, match="exit code 2") as error:
        results.run(python_step("bad", program))
    assert error.value.exit_code == 2
    assert "what is wrong" in capfd.readouterr().err
    again = Results(tmp_path)
    assert again.run(python_step("good", counting(tmp_path))).is_kept
    with pytest.raises(StepFailed):
        again.run(python_step("bad", program))  # a failure is not kept


def test_a_killed_command_is_told_by_its_signal(tmp_path: Path) -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(StepFailed, match="SIGKILL") as error:
        Results(tmp_path).run(python_step("a", program))
    assert error.value.exit_code == 137


@pytest.mark.parametrize("printed", ["", "no JSON", "[1]"])
def test_a_command_that_prints_no_json_object_fails(tmp_path: Path, printed: str) -> None:
    with pytest.raises(StepFailed, match="no JSON"):
        Results(tmp_path).run(python_step("a", f"print({printed!r})"))


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": 1}', '{"a": {"command": "x"}}'])
def test_a_damaged_record_is_begun_anew(tmp_path: Path, damage: str) -> None:
    (tmp_path / "results.json").write_text(damage)
    assert not Results(tmp_path).run(python_step("a", counting(tmp_path))).is_kept
    assert Results(tmp_path).run(python_step("a", counting(tmp_path))).is_kept


def test_a_step_that_began_with_other_inputs_is_known_although_it_did_not_end(tmp_path: Path) -> None:
    with pytest.raises(StepFailed):
        Results(tmp_path).run(python_step("a", "1/0", inputs="old"))
    results = Results(tmp_path)
    assert results.was_made_from_other("a", "new")
    assert not results.was_made_from_other("a", "old")
    assert not results.was_made_from_other("b", "new")


def test_forgotten_steps_leave_the_results(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.run(python_step("a", counting(tmp_path)))
    results.run(python_step("b", counting(tmp_path)))
    results.forget(["a", "never there"])
    assert list(json.loads((tmp_path / "results.json").read_text())) == ["b"]


def test_a_folder_that_cannot_be_written_is_said_before_the_command_runs(tmp_path: Path) -> None:
    (tmp_path / "results.json").mkdir()
    with pytest.raises(CorpusError, match="cannot be written"):
        Results(tmp_path).run(python_step("a", counting(tmp_path)))
    assert runs(tmp_path) == 0


def test_avmi_is_this_pythons_own(tmp_path: Path) -> None:
    step = Step("version", ("avmi", "config", "show", "--json"), inputs="")
    with pytest.raises(StepFailed, match="exit code 2"):  # CONFIG is missing: avmi itself has answered
        Results(tmp_path).run(step)
    version = subprocess.run(
        [sys.executable, "-m", "avmi", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("avmi ")


def test_a_fingerprint_follows_the_content_of_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("one")
    second.write_text("one")
    assert fingerprint(first) == fingerprint(second)
    before = fingerprint(first, {"k": 1})
    assert before != fingerprint(first, {"k": 2})
    first.write_text("two")
    assert fingerprint(first, {"k": 1}) != before
    first.unlink()
    assert fingerprint(first) != fingerprint(second)


def test_ctrl_c_leaves_no_command_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def interrupted(process: subprocess.Popen[bytes]) -> None:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    monkeypatch.setattr("data_prep.steps._GRACE_SECONDS", 0.1)
    with pytest.raises(KeyboardInterrupt):
        Results(tmp_path).run(python_step("a", "import time; time.sleep(60)"))
    assert [process.returncode for process in started] == [-9]  # it did not end by itself in time
    monkeypatch.undo()
    assert not Results(tmp_path).run(python_step("a", counting(tmp_path))).is_kept
