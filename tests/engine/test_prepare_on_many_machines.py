"""A job array and a Ray cluster of this machine → the manifest that one local run gives."""

import importlib.util
import io
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from making import make_clip

from avmi.corpus.journal import JOURNAL_FILE
from avmi.corpus.manifest import Manifest, read_manifest, read_rejects
from avmi.engine.share import parse_share
from avmi.workflows.prepare import prepare, prepare_share


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(13):
        make_clip(folder / f"{number:02d}.mp4", seconds=1.0 + number / 25)
    (folder / "text.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def local(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return prepare(videos, out=tmp_path_factory.mktemp("local") / "corpus", workers=1, log=io.StringIO())


def test_three_jobs_at_once_and_a_join_give_what_one_run_gives(videos: Path, local: Manifest, tmp_path: Path):
    out = tmp_path / "corpus"

    def job(number: int) -> int:
        share = parse_share(f"{number}/3")
        return prepare_share(videos, out=out, share=share, workers=1, log=io.StringIO()).mine

    with ThreadPoolExecutor(3) as jobs:
        assert sum(jobs.map(job, range(3))) == 14
    joined = prepare(videos, out=out, workers=1, log=io.StringIO())
    assert joined.probed == 0
    assert joined.videos == local.videos
    assert [r.reason for r in read_rejects(out)] == ["not_media"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: avmi[ray]")
def test_a_run_that_is_killed_with_its_ray_is_finished_here_with_every_row_once(
    videos: Path,
    local: Manifest,
    killed_when: Callable[..., None],
    tmp_path: Path,
):
    out, journal = tmp_path / "corpus", tmp_path / "corpus" / JOURNAL_FILE
    command = [sys.executable, "-m", "avmi", "prepare", str(videos), "--out", str(out)]
    command += ["--engine", "ray", "--workers", "2"]
    # A Ray of its own, which dies with the driver: without a word to anybody.
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    killed_when(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 3, command, environment)
    assert not (out / "manifest.parquet").exists()

    assert prepare(videos, out=out, workers=1, log=io.StringIO()).probed < 14
    assert read_manifest(out).videos == local.videos
    assert [r.reason for r in read_rejects(out)] == ["not_media"]
    lines = journal.read_text().splitlines()
    assert len(lines) == len(set(lines))
