"""A job array and a Ray cluster of this machine → the very bytes of the table that one local run writes."""

import dataclasses
import io
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from corpora import tiny_config, untrained_checkpoint

from avmi import embedding_units
from avmi.corpus.manifest import read_manifest, write_manifest
from avmi.embedder import load
from avmi.engine.share import parse_share
from avmi.errors import CorpusError
from avmi.index.table import read_embeddings
from avmi.workflows.embed import embed, embed_share


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """15 videos are 4 units."""
    monkeypatch.setattr(embedding_units, "VIDEOS_PER_UNIT", 4)


@pytest.fixture(scope="module")
def local(tiny_checkpoint: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local") / "table.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_units, "VIDEOS_PER_UNIT", 4)
        embed(tiny_checkpoint, tiny_corpus, out=out, log=io.StringIO())
    return out


def options(out: Path, **more: Any) -> dict[str, Any]:
    return {"out": out, "log": io.StringIO(), **more}


def parts_of(out: Path) -> list[Path]:
    return sorted((out.parent / f".{out.name}.parts").glob("*.parquet"))


def test_three_jobs_at_once_and_a_join_write_the_bytes_of_one_run(
    tiny_checkpoint: Path, tiny_corpus: Path, local: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t.parquet"

    def job(number: int) -> int:
        share = parse_share(f"{number}/3")
        return embed_share(tiny_checkpoint, tiny_corpus, **options(out, share=share)).done

    with ThreadPoolExecutor(3) as jobs:
        assert sorted(jobs.map(job, range(3))) == [4, 4, 7]  # of 4, 4, 4 and 3 videos
    assert not out.exists()
    assert job(0) == 0  # what is embedded is not embedded again
    assert len(parts_of(out)) == 4
    assert embed(tiny_checkpoint, tiny_corpus, **options(out)).embedded == 0
    assert out.read_bytes() == local.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_run_that_fails_in_the_middle_goes_on_where_it_was(
    tiny_checkpoint: Path, tiny_corpus: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t.parquet"
    written = []

    def write(*arguments: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(arguments)
        real(*arguments)

    real = embedding_units.write_part
    with monkeypatch.context() as patch:
        patch.setattr(embedding_units, "write_part", write)
        with pytest.raises(KeyboardInterrupt):
            embed(tiny_checkpoint, tiny_corpus, **options(out))
    assert not out.exists()
    torn = parts_of(out)[0]
    torn.write_bytes(torn.read_bytes()[:-9])
    assert embed(tiny_checkpoint, tiny_corpus, **options(out)).embedded in (
        11,
        12,
    )  # 3 units, one of them torn
    assert out.read_bytes() == local.read_bytes()


def test_parts_of_another_checkpoint_or_split_are_never_joined(
    tiny_checkpoint: Path, tiny_corpus: Path, local: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t.parquet"
    config = tiny_config(tiny_corpus, tmp_path / "run", seed=77)
    other = untrained_checkpoint(tmp_path / "other", config)
    share = parse_share("0/1")
    assert embed_share(other, tiny_corpus, **options(out, share=share)).done == 15
    assert embed_share(tiny_checkpoint, tiny_corpus, **options(out, share=share, split="train")).done == 9
    assert len(parts_of(out)) == 4 + 3
    assert embed(tiny_checkpoint, tiny_corpus, **options(out)).embedded == 15
    assert out.read_bytes() == local.read_bytes()


def test_decoding_processes_do_not_move_a_bit_and_threads_only_the_last_ones(
    tiny_checkpoint: Path, tiny_corpus: Path, local: Path, tmp_path: Path
) -> None:
    embed(tiny_checkpoint, tiny_corpus, **options(tmp_path / "t.parquet", workers=2))
    assert (tmp_path / "t.parquet").read_bytes() == local.read_bytes()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        embed(tiny_checkpoint, tiny_corpus, **options(tmp_path / "threads.parquet"))
    finally:
        torch.set_num_threads(threads)
    found, wanted = read_embeddings(tmp_path / "threads.parquet"), read_embeddings(local)
    assert found.columns.equals(wanted.columns)
    torch.testing.assert_close(found.vectors, wanted.vectors, atol=1e-6, rtol=0)


def test_a_video_that_comes_back_is_embedded_by_the_next_run(
    tiny_checkpoint: Path, tiny_corpus: Path, local: Path, tmp_path: Path
) -> None:
    manifest = read_manifest(tiny_corpus)
    shutil.copytree(manifest.root, tmp_path / "videos")
    corpus, out = tmp_path / "corpus", tmp_path / "t.parquet"
    corpus.mkdir()
    write_manifest(corpus, manifest.videos, root=tmp_path / "videos")
    lost, away = tmp_path / "videos" / manifest.videos[5].path, tmp_path / "away.mp4"
    lost.rename(away)
    share = parse_share("0/1")
    for done in (15, 0):  # while it is away, nobody tries again
        found = embed_share(tiny_checkpoint, corpus, **options(out, share=share))
        assert (found.rejected, found.done) == (1, done)
    away.rename(lost)
    joined = embed(tiny_checkpoint, corpus, **options(out))
    assert (joined.rejects, joined.embedded) == ((), 4)
    assert pq.read_table(out).equals(pq.read_table(local))


def test_a_lost_disk_stops_the_run_and_leaves_no_part(
    tiny_checkpoint: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "corpus").mkdir()
    write_manifest(tmp_path / "corpus", read_manifest(tiny_corpus).videos, root=tmp_path / "gone")
    with pytest.raises(CorpusError, match="is the disk still there"):
        embed(tiny_checkpoint, tmp_path / "corpus", **options(tmp_path / "t.parquet"))
    assert not parts_of(tmp_path / "t.parquet")


def test_no_table_is_written_while_a_job_runs(
    tiny_checkpoint: Path, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t.parquet"
    share = parse_share("0/2")
    told, write_part = [], embedding_units.write_part

    def write(*part: Any) -> None:
        with pytest.raises(CorpusError, match="another `avmi embed`"):
            embed(tiny_checkpoint, tiny_corpus, **options(out))
        with pytest.raises(CorpusError, match="another `avmi embed`"):
            embed_share(tiny_checkpoint, tiny_corpus, **options(out, share=share))
        told.append(share)
        write_part(*part)

    monkeypatch.setattr(embedding_units, "write_part", write)
    embed_share(tiny_checkpoint, tiny_corpus, **options(out, share=share))
    assert len(told) == 2


def test_a_worker_whose_checkpoint_has_changed_embeds_nothing(
    tiny_checkpoint: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    model, manifest = load(tiny_checkpoint), read_manifest(tiny_corpus)
    items = [embedding_units.item_of(embedding_units.units_of(model, manifest)[:1])]
    place = embedding_units.Place(tiny_checkpoint, "of before", manifest.root, manifest.corpus, tmp_path)
    stopped = embedding_units.UnitWorker(place, 0)(items[0])["stopped"]
    assert "has changed since the run began" in stopped
    assert not list(tmp_path.iterdir())
    now = dataclasses.replace(place, model_hash=model.model_hash)
    assert embedding_units.UnitWorker(now, 0)(items[0]) == {"videos": 4, "stopped": ""}
    assert len(list(tmp_path.iterdir())) == 1


# Units are divided by the command alone: workers of a cluster take what they are given.
SMALL_UNITS = (
    "from avmi import embedding_units; embedding_units.VIDEOS_PER_UNIT = 4; from avmi.cli import main; main()"
)


@pytest.mark.slow
def test_on_ray_a_killed_run_goes_on_to_the_bytes_of_a_local_one(
    tiny_checkpoint: Path,
    tiny_corpus: Path,
    local: Path,
    ray_environment: dict[str, str],
    killed_when: Callable[..., None],
    finished: Callable[..., None],
    tmp_path: Path,
) -> None:
    out = tmp_path / "t.parquet"
    command = [sys.executable, "-c", SMALL_UNITS, "embed", str(tiny_checkpoint), str(tiny_corpus)]
    command += ["--out", str(out), "--engine", "ray", "--workers", "0"]
    killed_when(lambda: bool(parts_of(out)), command, ray_environment)
    assert not out.exists()
    finished(command, ray_environment)
    assert out.read_bytes() == local.read_bytes()
    clips = pq.read_table(out, columns=["clip_id", "kind"]).to_pylist()
    assert len(clips) == len({(row["clip_id"], row["kind"]) for row in clips}) == 60
