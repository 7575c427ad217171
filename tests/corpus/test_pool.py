import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import probes_for_tests as probes
import pytest

from avmi.corpus import pool as pool_module
from avmi.corpus.pool import ProbePool
from avmi.errors import AvmiError


def run(folder: Path, names, *functions, workers=2, seconds=20.0):
    paths = [folder / name for name in names]
    with ProbePool(functions or (probes.obedient,), workers=workers, time_limit_seconds=seconds) as pool:
        return {path.name: outcome for path, outcome in pool.run(paths)}


def test_every_file_has_one_outcome_and_noise_does_not_disturb(tmp_path, capfd):
    names = [f"{i}.mp4" for i in range(7)] + ["new\nline.mp4", "видео.mp4", "-dash 'quote\".mp4"]
    found = run(tmp_path, names)
    assert {name: outcome.facts["name"] for name, outcome in found.items()} == {name: name for name in names}
    assert capfd.readouterr() == ("", "")


def test_files_are_shared_among_the_workers_and_torch_is_not_in_them(tmp_path):
    found = run(tmp_path, [f"{i}.mp4" for i in range(8)], probes.slow, workers=3)
    assert len({outcome.facts["process"] for outcome in found.values()}) == 3
    assert not any(outcome.facts["torch"] for outcome in found.values())


def test_a_refusal_keeps_its_reason_and_a_librarys_error_is_a_decode_error(tmp_path):
    found = run(tmp_path, ["refused.mp4", "bug.mp4", "good.mp4"])
    assert (found["refused.mp4"].reason, found["refused.mp4"].detail) == ("no_audio", "it is refused")
    assert (found["bug.mp4"].reason, found["bug.mp4"].detail) == (
        "decode_error",
        "RuntimeError: a library's own error",
    )
    assert found["good.mp4"].facts is not None


def test_a_crash_costs_the_file_that_caused_it_and_no_other(tmp_path):
    found = run(tmp_path, ["a.mp4", "crash.mp4", "b.mp4", "exit.mp4", "c.mp4"], workers=1)
    reasons = {name: outcome.reason for name, outcome in found.items()}
    assert reasons == {
        "a.mp4": "",
        "crash.mp4": "decoder_crash",
        "b.mp4": "",
        "exit.mp4": "decoder_crash",
        "c.mp4": "",
    }
    assert "SIGSEGV" in found["crash.mp4"].detail
    assert "exit code 3" in found["exit.mp4"].detail


def test_a_hanging_file_costs_its_time_limit_and_no_other_file(tmp_path):
    began = time.monotonic()
    found = run(tmp_path, ["hang.mp4", "a.mp4", "b.mp4"], workers=1, seconds=1.0)
    assert {name: outcome.reason for name, outcome in found.items()} == {
        "hang.mp4": "time_limit",
        "a.mp4": "",
        "b.mp4": "",
    }
    assert 1.0 <= time.monotonic() - began < 15


def test_the_next_probe_gets_what_hung_or_crashed(tmp_path):
    names = ["hang.mp4", "crash.mp4", "good.mp4", "refused.mp4", "hopeless hang.mp4"]
    found = run(tmp_path, names, probes.obedient, probes.patient, seconds=1.0)
    assert {name: outcome.facts and outcome.facts.get("second") for name, outcome in found.items()} == {
        "hang.mp4": True,
        "crash.mp4": True,
        "good.mp4": None,
        "refused.mp4": None,
        "hopeless hang.mp4": None,
    }
    assert found["refused.mp4"].reason == "no_audio"  # a refusal is an answer: nobody else is asked
    assert found["hopeless hang.mp4"].reason == "time_limit"


def test_the_same_children_serve_several_chains(tmp_path):
    paths = [tmp_path / "a.mp4", tmp_path / "crash.mp4"]
    chains = ((probes.obedient,), (probes.patient,))
    with ProbePool(*chains, workers=1, time_limit_seconds=20.0) as pool:
        first = {path.name: outcome for path, outcome in pool.run(paths)}
        second = {path.name: outcome.facts for path, outcome in pool.run(paths, chain=1)}
    assert first["crash.mp4"].reason == "decoder_crash"
    assert second == {name: {"name": name, "second": True} for name in ("a.mp4", "crash.mp4")}


def test_a_child_is_replaced_after_its_share_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(pool_module, "FILES_PER_CHILD", 3)
    found = run(tmp_path, [f"{i}.mp4" for i in range(7)], workers=1)
    processes = [outcome.facts["process"] for outcome in found.values()]
    assert [processes.count(p) for p in dict.fromkeys(processes)] == [3, 3, 1]


def test_no_child_outlives_the_pool_even_in_the_middle_of_a_file(tmp_path):
    with ProbePool((probes.obedient,), workers=1, time_limit_seconds=60.0) as pool:
        outcomes = pool.run([tmp_path / "a.mp4", tmp_path / "hang.mp4"])
        _, first = next(outcomes)
    assert not _is_running(first.facts["process"])


def test_nothing_is_started_for_no_files(tmp_path):
    assert run(tmp_path, []) == {}


def test_a_probe_that_cannot_be_imported_is_an_error_and_no_reject(tmp_path):
    def local(path: Path) -> dict:
        return {}

    with pytest.raises(AvmiError, match="cannot start"):
        run(tmp_path, ["a.mp4"], local)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_children_end_with_a_parent_that_is_killed(tmp_path):
    program = (
        "import sys; from pathlib import Path; import probes_for_tests as p\n"
        "from avmi.corpus.pool import ProbePool\n"
        "with ProbePool((p.obedient,), workers=1, time_limit_seconds=60.0) as pool:\n"
        f"    paths = [Path({str(tmp_path)!r}) / n for n in ('a.mp4', 'hang.mp4')]\n"
        "    for path, outcome in pool.run(paths): print(outcome.facts['process'], flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        child = int(parent.stdout.readline())
        calls = tmp_path / "calls.log"
        _wait_until(lambda: "hang.mp4" in calls.read_text())
        assert _is_running(child)
        parent.send_signal(signal.SIGKILL)
    _wait_until(lambda: not _is_running(child))


def _is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def _wait_until(fact) -> None:
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.02)
