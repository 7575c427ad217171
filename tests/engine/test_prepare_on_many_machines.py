"""A job array and a Ray cluster of this machine → the manifest that one local run gives."""

import importlib.util
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
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


@pytest.fixture
def processes() -> Iterator[set[int]]:
    before = {p.pid for p in psutil.process_iter()}
    yield before
    for process in psutil.process_iter():
        if process.pid not in before and "ray" in " ".join(_line(process)):
            process.kill()


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: avmi[ray]")
def test_on_ray_a_killed_run_goes_on_and_ends_with_every_row_once(
    videos: Path, local: Manifest, processes: set[int], tmp_path: Path
):
    out = tmp_path / "corpus"
    command = [sys.executable, "-m", "avmi", "prepare", str(videos), "--out", str(out)]
    command += ["--engine", "ray", "--workers", "2"]
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    driver = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)
    journal = out / JOURNAL_FILE
    deadline = time.monotonic() + 120
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 3):
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # The driver and all that Ray started: without a word to anybody.
    for process in psutil.Process(driver.pid).children(recursive=True):
        process.send_signal(signal.SIGKILL)
    driver.kill()
    driver.wait()
    assert not (out / "manifest.parquet").exists()

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert read_manifest(out).videos == local.videos
    assert [r.reason for r in read_rejects(out)] == ["not_media"]
    lines = journal.read_text().splitlines()
    assert len(lines) == len(set(lines))
