"""Clips of 340 × 256, of 720p and of UCF101 → what a million ten-second clips cost: core-hours and bytes, verb by verb.

Run by hand: `python -m benchmarks.media.scale [--folder DIR] [--rows 100000] [--only KIND,KIND] [--json]`; DIR keeps the
material. Every rate is CPU time of this process with one thread, median of five rounds over copies of the material or over 24 clips of
UCF101 (those beside the project); what a driver does once at the end is measured on as many rows as `--rows` says
(`driver.py`). A million is an extrapolation: rates times a million, UCF101 clips as they are, and the same for ten
seconds of them. `embed` is measured with small encoders (four convolutions of width 32 at 96 × 96 pixels and 64 mel bins,
as in configs/pretrain/quickstart.yaml, eight clips a video) and, on the first kind, with ResNet-18 at 224 pixels.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import torch

from avmi.checkpoint import save_checkpoint
from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import Manifest, Video, read_manifest, video_of, write_manifest
from avmi.decode.pack import Job, pack_video
from avmi.decode.probe import probe
from avmi.embedder import load
from avmi.embedding_rows import provenance_of
from avmi.embedding_units import UnitEmbedder, units_of
from avmi.index.part import read_part
from avmi.index.table import EMBEDDING_COLUMN
from avmi.index.write import write_tables
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.store.packing import DEFAULT_PACKING
from avmi.workflows.pack import PackRequest, pack
from avmi.workflows.prepare import prepare
from benchmarks.media.material import SECONDS, folder_of_arguments, material
from benchmarks.media.probing import UCF101

ROUNDS, COPIES, CLIPS = 5, 8, 24
KINDS = ("340x256_gop250", "1280x720_gop250")
MILLION = 1_000_000
SMALL = {
    "views": {
        "image": {"kind": "frame", "at_seconds": 0.8},
        "sound": {"kind": "audio", "at_seconds": 0.0, "window_seconds": 1.6},
    },
    "image": {"size_px": 96, "fit": "squash"},
    "log_mel": {"mel_bins": 64},
    "encoders": {
        "image": {"name": "small_conv", "width": 32},
        "audio": {"name": "small_conv", "width": 32},
        "head": {"hidden_dims": [256], "embedding_dim": 128},
    },
}
LARGER = {
    **SMALL,
    "image": {"size_px": 224},
    "encoders": {
        "image": {"name": "resnet18"},
        "audio": {"name": "resnet18"},
        "head": {"hidden_dims": [512], "embedding_dim": 256},
    },
}

# The larger ones are measured on one kind of video: what an encoder takes does not depend on where a clip comes from.
ENCODERS = {"small encoders": SMALL, "ResNet-18": LARGER}


@dataclass(frozen=True)
class Cost:
    """What one clip costs a verb: CPU seconds, round by round, and the bytes that it leaves."""

    verb: str
    kind: str
    cpu_seconds: tuple[float, ...]
    size_bytes: float
    clip_seconds: float

    def line(self) -> str:
        """Give the clip, and a million of them."""
        middle = statistics.median(self.cpu_seconds)
        spread = f"{min(self.cpu_seconds) * 1e3:.1f} to {max(self.cpu_seconds) * 1e3:.1f}"
        hours, terabytes = middle * MILLION / 3600, self.size_bytes * MILLION / 1e12
        longer = SECONDS / self.clip_seconds
        ten = "" if abs(longer - 1) < 0.01 else f"; of 10 s each: {hours * longer:,.0f} core-h"
        return (
            f"{self.verb:<32} {self.kind:<16} {middle * 1e3:>7.1f} ms ({spread}) {self.size_bytes / 1e3:>8.2f} kB"
            f" → {hours:>7,.0f} core-h, {terabytes:.3f} TB{ten}"
        )


def main() -> None:
    arguments = sys.argv[1:]
    torch.set_num_threads(1)
    rows = int(arguments[arguments.index("--rows") + 1]) if "--rows" in arguments else 100_000
    costs = []
    work = Path(tempfile.mkdtemp(prefix="avmi_scale_"))
    try:
        only = arguments[arguments.index("--only") + 1].split(",") if "--only" in arguments else None
        for kind, paths in sources(folder_of_arguments(), work).items():
            if only is not None and kind not in only:
                continue
            for cost in measured(kind, paths, work / f"work_{kind}"):
                costs.append(cost)
                if "--json" not in arguments:
                    print(cost.line(), flush=True)
        told = [sys.executable, "-m", "benchmarks.media.driver", "--sizes", str(rows)]
        if "--json" in arguments:
            once = json.loads(subprocess.run([*told, "--json"], stdout=subprocess.PIPE, check=True).stdout)
            print(json.dumps({"costs": [vars(cost) for cost in costs], "driver": once}, indent=1))
        else:
            print("once, in one process, whatever the clips:", flush=True)
            subprocess.run(told, check=True)
    finally:
        shutil.rmtree(work)


def sources(folder: Path, work: Path) -> dict[str, list[Path]]:
    """Give the files of each kind: names of their own for copies of one, so that nothing is opened twice."""
    made = material(folder)
    found: dict[str, list[Path]] = {}
    for kind in KINDS:
        (work / kind).mkdir()
        found[kind] = [work / kind / f"{n}.mp4" for n in range(COPIES)]
        for path in found[kind]:
            os.link(made[kind], path) if made[kind].stat().st_dev == work.stat().st_dev else shutil.copy(
                made[kind], path
            )
    clips = sorted(UCF101.rglob("*.mp4"))
    if clips:
        found["UCF101"] = random.Random(0).sample(clips, CLIPS)
    return found


def measured(kind: str, paths: list[Path], work: Path) -> list[Cost]:
    """Measure every verb on these files."""
    work.mkdir()
    facts = [probe(path) for path in paths]
    videos = tuple(
        replace(video_of(f, str(path), label="", split="train"), video_id=f"{n:016x}")
        for n, (path, f) in enumerate(zip(paths, facts, strict=True))
    )
    seconds = statistics.mean(video.duration_seconds for video in videos)
    corpus = corpus_of(paths, videos, work)
    source_bytes = statistics.mean(path.stat().st_size for path in paths)
    costs = [Cost("(the files themselves)", kind, (0.0,), source_bytes, seconds)]

    def cost(verb: str, run: Callable[[], float]) -> None:
        size = run()  # warm
        rounds = []
        for _ in range(ROUNDS):
            begun = time.process_time()
            run()
            rounds.append((time.process_time() - begun) / len(paths))
        costs.append(Cost(verb, kind, tuple(rounds), size / len(paths), seconds))

    cost("prepare", lambda: sum(len(json.dumps(probe(path))) for path in paths))
    cost("pack", lambda: packed(corpus, videos, work))
    shards = work / "shards"
    pack(PackRequest(corpus, shards))
    for name, settings in ENCODERS.items() if kind == KINDS[0] else [next(iter(ENCODERS.items()))]:
        checkpoint = checkpoint_of(settings, corpus, work / name.replace(" ", "_"))
        for of, where in (("files", corpus), ("shards", shards)):
            manifest = read_manifest(where)
            cost(f"embed, {name}, from {of}", embedding(checkpoint, manifest, work / "parts"))
    return costs


def corpus_of(paths: list[Path], videos: tuple[Video, ...], work: Path) -> Path:
    """Prepare the files, and give every copy a row of its own."""
    corpus = work / "corpus"
    table = work / "files.csv"
    table.write_text("path\n" + "".join(f"{path.absolute()}\n" for path in paths))
    with (work / "log").open("w") as log:
        prepare(table, out=corpus, workers=1, log=log)
    write_manifest(corpus, videos, root=work)
    return corpus


def packed(corpus: Path, videos: tuple[Video, ...], work: Path) -> float:
    """Pack in this process, as a child of `avmi pack` does; the bytes of the parts."""
    size = 0
    for video in videos:
        job, part = work / "one.job", work / "one.part"
        Job(Path(video.path), corpus, video, DEFAULT_PACKING, part).write(job)
        size += pack_video(job)["bytes"]
    return float(size)


def checkpoint_of(settings: dict[str, object], corpus: Path, folder: Path) -> Path:
    """Save encoders with fresh weights: they cost what trained ones cost."""
    config = PretrainConfig.model_validate({"corpus": corpus, "run": folder / "run", **settings})
    encoders = Encoders(config.views, config.encoders, log_mel=LogMelStatistics(-6.0, 3.0))
    save_checkpoint(folder, encoders, config=config, step=1, metrics={}, train_videos=[])
    return folder


def embedding(checkpoint: Path, manifest: Manifest, parts: Path) -> Callable[[], float]:
    """Embed a unit in this process; the bytes of the table."""
    parts.mkdir(exist_ok=True)
    model = load(checkpoint, device="cpu")
    units = units_of(model, manifest)
    embedder = UnitEmbedder(model, manifest, parts, workers=0)

    def run() -> float:
        for _ in embedder.embed(units):
            pass
        found = [part for unit in units if (part := read_part(unit.part_in(parts))) is not None]
        table = parts / "table.parquet"
        write_tables(table, (part.table() for part in found), provenance=provenance_of(model, manifest))
        return table_bytes(table)

    return run


def table_bytes(table: Path) -> float:
    """Size of a table as if no two vectors were equal: copies of one clip would shrink it, and real clips do not."""
    metadata = pq.ParquetFile(table).metadata
    size = 0
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            is_vector = column.path_in_schema.startswith(EMBEDDING_COLUMN)
            size += column.total_uncompressed_size if is_vector else column.total_compressed_size
    return float(size)


if __name__ == "__main__":
    main()
