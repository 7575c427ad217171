"""A job array and a Ray cluster of this machine → the very bytes of the shards that one local run writes."""

import hashlib
import io
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from avmi.corpus.manifest import read_rejects
from avmi.corpus.pool import Probe
from avmi.decode.pack import pack_video, read_job
from avmi.engine.share import ShareDone, parse_share
from avmi.errors import CorpusError, DecodeError
from avmi.store.packing import Packing
from avmi.store.writer import alone_in, beside_others_in
from avmi.workflows.pack import PackRequest, pack, pack_share

SMALL = Packing(size_px=32, shard_megabytes=0.25)


def sums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def packed(corpus: Path, out: Path) -> None:
    pack(PackRequest(corpus, out, packing=SMALL, workers=1), log=io.StringIO())


def packed_share(corpus: Path, out: Path, share: str, probe: Probe = pack_video) -> ShareDone:
    request = PackRequest(corpus, out, packing=SMALL, workers=1)
    return pack_share(request, share=parse_share(share), log=io.StringIO(), probe=probe)


@pytest.fixture(scope="module")
def local(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local") / "shards"
    packed(tiny_corpus, out)
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
        return packed_share(tiny_corpus, out, f"{number}/3").done

    with ThreadPoolExecutor(3) as jobs:
        assert sum(jobs.map(job, range(3))) == 15
    assert not list(out.glob("*.tar"))
    assert job(1) == 0  # what is packed is not packed again
    packed(tiny_corpus, out)
    assert sums(out) == sums(local)
    assert not list((out / ".parts").glob("*.part"))


def test_a_join_packs_what_no_job_has_packed(tiny_corpus: Path, local: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    packed_share(tiny_corpus, out, "0/2")
    packed(tiny_corpus, out)
    assert sums(out) == sums(local)


def test_what_jobs_reject_is_rejected_by_the_join_without_another_try(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    done = [packed_share(tiny_corpus, out, f"{i}/2", probe=without_red) for i in (0, 1)]
    assert sum(job.rejected for job in done) == 5
    packed(tiny_corpus, out)
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


@pytest.mark.slow
def test_a_run_on_ray_that_was_killed_is_finished_here_to_the_bytes_of_a_local_one(
    tiny_corpus: Path,
    local: Path,
    ray_environment: dict[str, str],
    killed_when: Callable[..., None],
    tmp_path: Path,
) -> None:
    out = tmp_path / "s"
    command = [sys.executable, "-m", "avmi", "pack", str(tiny_corpus), "--out", str(out), "--workers", "2"]
    command += ["--size", "32", "--shard-megabytes", "0.25", "--engine", "ray"]
    killed_when(lambda: len([*out.glob(".parts/*.part"), *out.glob("*.tar")]) >= 2, command, ray_environment)
    assert not (out / "manifest.parquet").exists()
    packed(tiny_corpus, out)
    assert sums(out) == sums(local)
