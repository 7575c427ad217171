"""A job array and a Ray cluster of this machine → the very bytes of the shards that one local run writes."""

import hashlib
import importlib.util
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from avmi.corpus.manifest import read_rejects
from avmi.decode.pack import pack_video, read_job
from avmi.engine.share import parse_share
from avmi.errors import CorpusError, DecodeError
from avmi.store.packing import Packing
from avmi.store.writer import alone_in, beside_others_in
from avmi.workflows.pack import pack, pack_share

SMALL = Packing(size_px=32, shard_megabytes=0.25)


def sums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def options(out: Path, **more: Any) -> dict[str, Any]:
    return {"out": out, "packing": SMALL, "workers": 1, "log": io.StringIO(), **more}


@pytest.fixture(scope="module")
def local(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local") / "shards"
    pack(tiny_corpus, **options(out))
    return out


def without_red(job_path: Path) -> dict[str, Any]:
    if read_job(job_path).video.label == "red":
        raise DecodeError("red is not packed", reason="damaged")
    return pack_video(job_path)


def test_three_jobs_at_once_and_a_join_write_the_bytes_of_one_run(
    tiny_corpus: Path, local: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s"

    def job(number: int) -> int:
        return pack_share(tiny_corpus, **options(out, share=parse_share(f"{number}/3"))).done

    with ThreadPoolExecutor(3) as jobs:
        assert sum(jobs.map(job, range(3))) == 15
    assert not list(out.glob("*.tar"))
    assert job(1) == 0  # what is packed is not packed again
    pack(tiny_corpus, **options(out))
    assert sums(out) == sums(local)
    assert not list((out / ".parts").glob("*.part"))


def test_a_join_packs_what_no_job_has_packed(tiny_corpus: Path, local: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    pack_share(tiny_corpus, **options(out, share=parse_share("0/2")))
    pack(tiny_corpus, **options(out))
    assert sums(out) == sums(local)


def test_what_jobs_reject_is_rejected_by_the_join_without_another_try(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    done = [
        pack_share(tiny_corpus, **options(out, share=parse_share(f"{i}/2"), probe=without_red))
        for i in (0, 1)
    ]
    assert sum(job.rejected for job in done) == 5
    pack(tiny_corpus, **options(out))
    assert {reject.reason for reject in read_rejects(out)} == {"damaged"}
    assert len(read_rejects(out)) == 5


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_no_shards_are_written_while_a_job_runs_and_no_job_runs_twice(tmp_path: Path) -> None:
    (tmp_path / ".parts").mkdir()
    with beside_others_in(tmp_path, share_suffix="-0-of-2"):
        with beside_others_in(tmp_path, share_suffix="-1-of-2"):
            pass
        with pytest.raises(CorpusError, match="another `avmi pack`"), alone_in(tmp_path):
            pass
        with (
            pytest.raises(CorpusError, match="another `avmi pack`"),
            beside_others_in(tmp_path, share_suffix="-0-of-2"),
        ):
            pass


@pytest.fixture
def driver_and_ray() -> Iterator[list[psutil.Process]]:
    """Take note of processes that a test starts, to end exactly these."""
    started: list[psutil.Process] = []
    yield started
    end(started)


def end(started: list[psutil.Process]) -> None:
    for process in started:
        if process.is_running():
            process.kill()
    psutil.wait_procs(started, timeout=10)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: avmi[ray]")
def test_on_ray_a_killed_run_goes_on_to_the_bytes_of_a_local_one(
    tiny_corpus: Path, local: Path, driver_and_ray: list[psutil.Process], tmp_path: Path
) -> None:
    out = tmp_path / "s"
    command = [sys.executable, "-m", "avmi", "pack", str(tiny_corpus), "--out", str(out), "--workers", "2"]
    command += ["--size", "32", "--shard-megabytes", "0.25", "--engine", "ray"]
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        driver_and_ray.append(psutil.Process(driver.pid))
        deadline = time.monotonic() + 120
        while len([*out.glob(".parts/*.part"), *out.glob("*.tar")]) < 2:
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        driver_and_ray += driver_and_ray[0].children(recursive=True)
        end(driver_and_ray)
    assert not (out / "manifest.parquet").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert sums(out) == sums(local)
