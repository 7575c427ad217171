"""Help, mistakes and `import avmi` are quick: none of them imports torch. (`make lint` holds the layers.)"""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "torchvision", "torchaudio", "librosa", "matplotlib", "accelerate", "sklearn"}
RUN = "import sys; sys.argv = ['avmi', *{words}]; from avmi.cli import main; main()"


def imported(code: str) -> set[str]:
    """Top-level modules that a program has imported when it ends."""
    ending = "import atexit, sys; atexit.register(lambda: print('MODULES', *sys.modules, file=sys.stderr))\n"
    done = subprocess.run(
        [sys.executable, "-c", ending + code], capture_output=True, text=True, timeout=60, check=False
    )
    line = next(line for line in done.stderr.splitlines() if line.startswith("MODULES"))
    return {name.partition(".")[0] for name in line.split()[1:]}


def test_the_check_itself_sees_an_import() -> None:
    assert "wave" in imported("import wave")
    assert "wave" not in imported("")


def test_importing_avmi_imports_nothing_heavy() -> None:
    found = imported("import avmi; dir(avmi); avmi.ConfigError")
    assert not found & (HEAVY | {"pydantic", "pyarrow", "yaml", "numpy"})


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["pretrain", "--help"], ["pretrian"], ["embed", "x"]]
)
def test_help_and_bad_usage_import_nothing_heavy(words: list[str]) -> None:
    found = imported(RUN.format(words=words))
    assert "typer" in found
    assert not found & (HEAVY | {"pyarrow", "yaml", "numpy"})


@pytest.mark.parametrize("verb", [["pretrain"], ["finetune"], ["config", "check"], ["config", "show"]])
def test_mistakes_in_a_configuration_are_found_without_torch(tmp_path: Path, verb: list[str]) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("corpus: c\nrun: r\nviews: {a: {kind: frame}, b: {kind: frame}}\nsed: 1\n")
    found = imported(RUN.format(words=[*verb, str(path), "steps=3"]))
    assert "pydantic" in found
    assert not found & HEAVY


def test_a_right_configuration_is_checked_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("corpus: c\nrun: r\nviews: {a: {kind: frame}, b: {kind: audio}}\n")
    assert not imported(RUN.format(words=["config", "check", str(path)])) & HEAVY


@pytest.mark.parametrize(
    "module", ["avmi.views.graph", "avmi.config.load", "avmi.corpus.plan", "avmi.errors"]
)
def test_these_modules_know_no_torch(module: str) -> None:
    assert not imported(f"import {module}") & HEAVY
