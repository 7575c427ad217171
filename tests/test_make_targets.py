"""The Makefile and .ci/run: what they would do, without doing it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Not the variables of a `make test` that started this.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "VIDEOS", "OUT", "VENV"))}
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_is_the_default_and_names_every_target() -> None:
    said = make().stdout
    named = set(re.findall(r"^  make ([a-z-]+)", said, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named == set(phony.split())
    assert make("help").stdout == said


def test_the_quickstart_hands_the_videos_on_as_one_word(tmp_path: Path) -> None:
    # A python that prints its words stands in for the one of the environment.
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text('#!/bin/sh\nfor word; do echo "<$word>"; done\n')
    python.chmod(0o755)
    for stamp in (".made", ".installed-atari"):
        (venv / stamp).touch()
    said = make("quickstart", f"VENV={venv}", "VIDEOS=/my 'own' videos").stdout.splitlines()
    assert said == ["<-m>", "<data_prep.quickstart>", "<--out=quickstart>", "<--videos=/my 'own' videos>"]
    assert make("quickstart", f"VENV={venv}").stdout.splitlines() == said[:3]
    assert make("quickstart", f"VENV={venv}", VIDEOS="/from/outside").stdout.splitlines()[3:] == [
        "<--videos=/from/outside>"
    ]


def test_both_commands_install_from_the_declared_dependencies_only(tmp_path: Path) -> None:
    for target, extras in (("quickstart", ".[atari]"), ("test", ".[atari,test]")):
        planned = make("--dry-run", target, f"VENV={tmp_path / 'venv'}").stdout
        installs = re.findall(r"pip install (.*)", planned)
        assert installs == ["--quiet --upgrade pip", f"--editable '{extras}'"]


def test_an_installation_that_stands_is_not_repeated(tmp_path: Path) -> None:
    for stamp in (".made", ".installed-atari", ".installed-test"):
        (tmp_path / stamp).touch()
    assert "pip install" not in make("--dry-run", "test", f"VENV={tmp_path}").stdout
    os.utime(tmp_path / ".installed-test", (0, 0))  # older than pyproject.toml
    assert "pip install" in make("--dry-run", "test", f"VENV={tmp_path}").stdout


def test_test_runs_lint_types_layers_and_the_suite_with_one_thread_each(tmp_path: Path) -> None:
    planned = make("--dry-run", "test", f"VENV={tmp_path}").stdout
    for tool in ("ruff check .", "ruff format --check .", "bin/mypy", "bin/lint-imports", "-m pytest"):
        assert tool in planned
    assert re.search(r"OMP_NUM_THREADS=1 \S+ -m pytest", planned)


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    ended = make("quickstart", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert ended.returncode != 0
    assert "needs Python 3.11 or newer" in ended.stderr
    assert str(old) in ended.stderr
    assert not (tmp_path / "venv").exists()


def test_ci_runs_both_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert re.search(r"^make test\b", script, re.MULTILINE)
    assert re.search(r"^make quickstart\b", script, re.MULTILINE)
    assert script.index("make test") < script.index("make quickstart")


@pytest.mark.parametrize(
    "line",
    ["12 passed in 3.21s", "3 skipped, 12 passed in 61.2s", "=== 12 passed, 1 skipped in 3.2s ==="],
)
def test_ci_finds_how_the_tests_ended(line: str) -> None:
    script = (ROOT / ".ci" / "run").read_text()
    (pattern,) = re.findall(r"^grep -E '([^']*)'", script, re.MULTILINE)
    log = f"tests/a.py ...\n12 passed by the way\n{line}\nsome more\n"
    found = subprocess.run(["grep", "-E", pattern], input=log, capture_output=True, text=True)
    assert line in found.stdout.splitlines()
