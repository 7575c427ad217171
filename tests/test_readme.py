"""README's code runs, its commands exist, its files are there."""

import re
from pathlib import Path

import numpy as np
import pytest
from corpora import LABELS
from making import make_clip
from PIL import Image
from typer.testing import CliRunner

from avmi.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_stand_at_the_top_and_the_makefile_has_them() -> None:
    first = README.split("```")[1]
    commands = re.findall(r"^make (\w+)", first, flags=re.MULTILINE)
    assert commands == ["quickstart", "test"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(commands) <= set(targets)


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"`avmi ((?:evaluate |config )?[a-z]+)[ `]", README)))
)
def test_every_command_of_the_readme_exists(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--help"])
    assert done.exit_code == 0, done.output


def test_every_linked_file_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    for label, (colour, tone_hz) in LABELS.items():
        (tmp_path / "videos" / label).mkdir(parents=True)
        for n in range(6):
            path = tmp_path / "videos" / label / f"{n}.mp4"
            make_clip(path, seconds=2.5 + n / 12, colour=colour, tone_hz=tone_hz * (1 + 0.05 * n))
    make_clip(tmp_path / "holiday.mp4", seconds=4.0)
    for name, shade in (("dog.jpg", 90), ("sea.png", 200)):
        Image.new("RGB", (120, 80), (shade, 40, shade)).save(tmp_path / name)
    # The same lines, with a path that holds from here and a training of seconds.
    short = '"optimizer.steps=3", "data.workers=0", "data.batch_clips=8"'
    text = code[1].replace('"configs/', f'"{ROOT}/configs/').replace('"optimizer.steps=300"', short)
    assert text.count(short) == 1
    made = {"waveform": np.sin(np.arange(44100 * 3) / 20).astype(np.float32)}
    exec(compile(text, "README.md", "exec"), made)
    assert made["pictures"].shape == (2, 128)
    assert made["sounds"].shape == (1, 128)
    assert len(made["clips"].specs) == made["clips"].image.shape[0] > 0
    printed = capsys.readouterr().out
    assert "recall@1" in printed
    assert "top-1" in printed
