"""`avmi pack`: a prepared corpus → a folder of shards that is a corpus itself: decoded once, trained on many times."""

import dataclasses
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from avmi.corpus.manifest import (
    HERE,
    MANIFEST_FILE,
    REJECTS_FILE,
    Manifest,
    Reject,
    Video,
    read_manifest,
    write_manifest,
    write_table,
)
from avmi.corpus.pool import Engine, Probe
from avmi.decode.pack import pack_video
from avmi.decode.pack_run import PackRun, cannot_write, waiting_videos
from avmi.engine.choose import engine_of
from avmi.engine.share import Share, ShareDone
from avmi.errors import CorpusError, UsageError
from avmi.store.index import ShardIndex
from avmi.store.packing import (
    DEFAULT_PACKING,
    PACKING_FILE,
    Packing,
    is_packed,
    read_packing,
    replace_file,
    write_packing,
)
from avmi.store.rows import packed_row
from avmi.store.sample import key_of
from avmi.store.verify import broken_in
from avmi.store.writer import (
    PARTS_FOLDER,
    SUMS_FILE,
    alone_in,
    beside_others_in,
    remove_torsos,
    standing_shards,
)
from avmi.types import EngineName, Split, StrPath


@dataclass(frozen=True)
class Packed(Manifest):
    """The shards that were written, and what became of all videos."""

    rejects: tuple[Reject, ...] = ()
    packed: int = 0  # by this run; the others stood there already
    shards: int = 0
    size_bytes: int = 0
    source_bytes: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "videos": len(self.videos),
            "packed": self.packed,
            "rejected": dict(sorted(Counter(r.reason for r in self.rejects).items())),
            "shards": self.shards,
            "bytes": self.size_bytes,
            "source_bytes": self.source_bytes,
            "seconds": round(self.seconds, 2),
        }

    def as_text(self) -> str:
        """Say it in one line."""
        share = (
            f", {self.size_bytes / self.source_bytes:.2f} of the videos' bytes" if self.source_bytes else ""
        )
        rejected = f", {len(self.rejects):,} rejected" if self.rejects else ""
        return (
            f"{self.corpus}: {len(self.videos):,} videos in {self.shards:,} shards "
            f"({self.size_bytes / 1e6:,.1f} MB{share}){rejected}; "
            f"{self.packed:,} packed in {self.seconds:.1f} s"
        )


@dataclass(frozen=True)
class Checked:
    """What checking a folder of shards found when all was well."""

    corpus: Path
    shards: int
    videos: int

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {"shards": self.shards, "videos": self.videos, "broken": 0}

    def as_text(self) -> str:
        """Say it in one line."""
        return f"{self.corpus}: {self.shards:,} shards with {self.videos:,} videos, all as they were written"


@dataclass(frozen=True)
class PackRequest:
    """What is to be packed, how, where to and by how many; raises `UsageError` for numbers that cannot be.

    `workers` processes (default: one per core) pack a video at a time, each within the time limit; with the
    engine ray they are all over a cluster, whose machines see the same folders. What comes out does not depend
    on them.
    """

    corpus: StrPath
    out: StrPath
    packing: Packing = DEFAULT_PACKING
    split: Split | Literal["all"] = "all"
    workers: int | None = None
    time_limit_seconds: float = 600.0
    engine: EngineName = "local"

    def __post_init__(self) -> None:
        _check_numbers(self.packing, self.workers, self.time_limit_seconds)

    def pool(self, probe: Probe) -> Engine:
        """Make the processes that pack."""
        return engine_of(
            self.engine, (probe,), workers=self.workers, time_limit_seconds=self.time_limit_seconds
        )


def pack(request: PackRequest, *, log: Any = None, probe: Probe = pack_video) -> Packed:
    """Pack the videos of a corpus into shards in a folder, which becomes a corpus itself.

    Stopped or killed and called again, it goes on; shards that are written stay as they are. Raises `CorpusError`
    when nothing can be read or the folder cannot be written.
    """
    begun = time.monotonic()
    manifest, chosen = _chosen(request.corpus, request.split)
    folder = _shards_folder(Path(request.out), request.packing)
    try:
        with alone_in(folder):
            remove_torsos(folder)
            run = PackRun(manifest, folder, request.packing, request.time_limit_seconds, log or sys.stderr)
            packed = run.pack(waiting_videos(chosen, run.standing), request.pool(probe))
            return _finish(run, packed, seconds=time.monotonic() - begun)
    except OSError as error:
        raise cannot_write(folder, error.strerror or str(error)) from error


def pack_share(
    request: PackRequest, *, share: Share, log: Any = None, probe: Probe = pack_video
) -> ShareDone:
    """Pack the videos of one job of a job array, each into a part of its own; see `pack`.

    Jobs may run at the same time. Afterwards `pack` joins the parts into the shards that it would have written
    alone, byte by byte.
    """
    begun = time.monotonic()
    manifest, chosen = _chosen(request.corpus, request.split)
    folder = _shards_folder(Path(request.out), request.packing)
    limit = request.time_limit_seconds
    try:
        with beside_others_in(folder, share_suffix=share.suffix):
            run = PackRun(
                manifest, folder, request.packing, limit, log or sys.stderr, share_suffix=share.suffix
            )
            mine = [video for video in chosen if share.has(video.video_id)]
            waiting = [v for v in waiting_videos(chosen, run.standing) if share.has(v.video_id)]
            packed = run.pack_parts(waiting, request.pool(probe))
    except OSError as error:
        raise cannot_write(folder, error.strerror or str(error)) from error
    rejected = sum(video.video_id in run.rejects for video in mine)
    seconds = time.monotonic() - begun
    return ShareDone(folder, share, "videos", len(chosen), len(mine), packed, rejected, seconds)


def _chosen(corpus: StrPath, split: Split | Literal["all"]) -> tuple[Manifest, Manifest]:
    """Read a corpus, and choose what is to be packed of it."""
    manifest = read_manifest(corpus)
    if is_packed(corpus):
        raise CorpusError(f"{corpus} is packed already: give the corpus that it was packed from")
    chosen = manifest if split == "all" else manifest.split(split)
    if not len(chosen):
        raise CorpusError(f"{corpus}: no video is in the {split} split; choose another with --split")
    return manifest, chosen


def check(shards: StrPath) -> Checked:
    """Compare every checksum of a folder of shards; raises `CorpusError` that names all that is broken."""
    if not is_packed(shards):
        raise CorpusError(f"{shards} holds no {PACKING_FILE}: give the folder that `avmi pack --out` wrote")
    folder = Path(shards)
    manifest = read_manifest(folder)
    named = {Path(video.path).parts[0] for video in manifest}
    standing = {path.name for path in folder.glob("*.tar")}
    names = sorted(named | standing)
    broken = [
        found for name in tqdm(names, desc="checking", unit=" shards") for found in broken_in(folder / name)
    ]
    if broken:
        lines = [f"{folder}: {len(broken):,} of its parts are broken"]
        lines += [f"  {what}: {why}" for what, why in broken]
        lines += ["remove a broken shard with its .index, and `avmi pack` packs its videos again"]
        raise CorpusError("\n".join(lines))
    return Checked(folder, len(names), len(manifest))


def _finish(run: PackRun, packed: int, *, seconds: float) -> Packed:
    """Write what makes a corpus of the shards: checksums, rejects, and the manifest last."""
    standing = {index.sha256: (shard, index) for shard, index in standing_shards(run.folder)}
    shards = sorted(standing.values(), key=lambda s: s[0])
    rows = _rows(run.manifest, shards, run.packing)
    rejects = tuple(run.rejects[video.video_id] for video in run.manifest if video.video_id in run.rejects)
    sums = "".join(f"{index.sha256}  {shard.name}\n" for shard, index in shards)
    replace_file(run.folder / SUMS_FILE, sums.encode())
    write_table(run.folder / REJECTS_FILE, rejects, row_type=Reject)
    if not rows:
        raise CorpusError(
            f"no video could be packed: {rejects[0].path} and {len(rejects) - 1} more were rejected "
            f"({rejects[0].reason}: {rejects[0].detail}); {run.folder / REJECTS_FILE} has them all"
        )
    write_manifest(run.folder, rows, root=HERE)
    for job in run.parts.glob("*.job"):
        job.unlink(missing_ok=True)
    ids = {row.video_id for row in rows}
    return Packed(
        root=run.folder,
        videos=rows,
        corpus=run.folder,
        rejects=rejects,
        packed=packed,
        shards=len(shards),
        size_bytes=sum(index.size_bytes for _, index in shards),
        source_bytes=sum(video.size_bytes for video in run.manifest if video.video_id in ids),
        seconds=seconds,
    )


def _rows(
    manifest: Manifest, shards: Sequence[tuple[Path, ShardIndex]], packing: Packing
) -> tuple[Video, ...]:
    """Make the manifest's rows of all videos that stand in shards, shard by shard."""
    videos = {key_of(video.video_id): video for video in manifest}
    rows = [
        packed_row(videos[key], index, key=key, shard=shard.name, packing=packing)
        for shard, index in shards
        for key in index.keys
        if key in videos
    ]
    return tuple(sorted(rows, key=lambda row: row.path))


def _check_numbers(packing: Packing, workers: int | None, time_limit_seconds: float) -> None:
    numbers = [
        (0.01 <= packing.frames_per_second <= 240, "--frames-per-second must be between 0.01 and 240"),
        (16 <= packing.size_px <= 4320, "--size must be between 16 and 4320 pixels"),
        (1 <= packing.quality <= 100, "--quality must be between 1 and 100"),
        (4000 <= packing.sample_rate_hz <= 96000, "--sample-rate must be between 4000 and 96000 Hz"),
        (packing.shard_megabytes > 0, "--shard-megabytes must be above 0"),
        (workers is None or workers >= 1, "--workers must be 1 or more"),
        (0 < time_limit_seconds < math.inf, "--time-limit-seconds must be above 0"),
    ]
    for holds, mistake in numbers:
        if not holds:
            raise UsageError(mistake)


def _shards_folder(out: Path, packing: Packing) -> Path:
    try:
        known = read_packing(out)
        if known is None and (out / MANIFEST_FILE).exists():
            raise CorpusError(f"{out} is a corpus itself: give another --out")
        if known is not None:
            asked = dataclasses.replace(packing, shard_megabytes=known.shard_megabytes)
            if asked != known:
                raise CorpusError(
                    f"{out} was packed otherwise ({_differences(known, asked)}): use the same options, or "
                    "another --out"
                )
        (out / PARTS_FOLDER).mkdir(parents=True, exist_ok=True)
        if known is None:
            write_packing(out, packing)
    except (FileExistsError, NotADirectoryError) as error:
        raise CorpusError(
            f"{out} cannot be a folder of shards: a file is in its place; give another --out"
        ) from error
    except OSError as error:
        raise CorpusError(f"{out} cannot be written: {error.strerror}; give another --out") from error
    return out


def _differences(known: Packing, asked: Packing) -> str:
    pairs = zip(dataclasses.asdict(known).items(), dataclasses.asdict(asked).values(), strict=True)
    return ", ".join(f"{name} {had}, now {now}" for (name, had), now in pairs if had != now)
