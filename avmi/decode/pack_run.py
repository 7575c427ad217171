"""A manifest and a folder of shards → the videos that are not packed yet, packed in a fixed order by child processes.

Three parts that know nothing of each other: `waiting_videos` says which videos and in which order,
`avmi.decode.pack.pack_video` packs one of them in a child process, `ShardWriter` writes the shards.
"""

import contextlib
import importlib.metadata
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tqdm import tqdm

from avmi.corpus.manifest import Manifest, Reject, Video
from avmi.corpus.members import tar_of
from avmi.corpus.pool import Engine, Outcome
from avmi.decode.pack import CANNOT_WRITE, UNREADABLE, Job
from avmi.errors import CorpusError
from avmi.store.packing import Packing
from avmi.store.sample import key_of
from avmi.store.writer import PARTS_FOLDER, Part, ShardWriter, read_part, standing_shards
from avmi.types import SPLITS

REJECTS_JOURNAL = "rejects.jsonl"  # of jobs of a job array: rejects-0-of-8.jsonl, read with it
# So many videos in a row that cannot be opened are a lost disk, not lost videos.
MOST_UNREADABLE = 20
_MISSING = {UNREADABLE, "open_failed", "missing"}


def waiting_videos(manifest: Manifest, standing: Mapping[str, object]) -> tuple[Video, ...]:
    """List the videos that stand in no shard yet, in the order in which shards hold them.

    Split by split, and shuffled by a hash of their ids: a shard is a fair sample of its split, and the order
    is the same on every machine.
    """
    waiting = [video for video in manifest if key_of(video.video_id) not in standing]
    return tuple(
        sorted(waiting, key=lambda v: (SPLITS.index(v.split), blake2b(v.video_id.encode()).digest()))
    )


class PackRun:
    """One run of `pack`, alone in its folder, or one job of a job array: `share_suffix` ends its journal's name."""

    def __init__(
        self,
        manifest: Manifest,
        folder: Path,
        packing: Packing,
        time_limit_seconds: float,
        log: Any,
        *,
        share_suffix: str = "",
    ) -> None:
        self.manifest, self.folder, self.packing = manifest, folder, packing
        self.limit, self.log = time_limit_seconds, log
        self.parts = folder / PARTS_FOLDER
        self.standing = {
            key: (shard, index) for shard, index in standing_shards(folder) for key in index.keys
        }
        self.rejects = _read_rejects(self.parts, self.limit)
        journal = self.parts / REJECTS_JOURNAL
        self._journal = journal.with_stem(journal.stem + share_suffix)
        self._unreadable: list[tuple[Video, Outcome]] = []

    def pack(self, videos: Sequence[Video], engine: Engine) -> int:
        """Pack videos in their order into shards; give how many were packed."""
        todo = self._todo(videos)
        packed = 0
        with self._working(todo, engine) as (pool, bar):
            for split in SPLITS:
                writer = ShardWriter(self.folder, split, packing=self.packing)
                own = [video for video in todo if video.split == split]
                for part in self._in_order(own, pool):
                    self._tell(bar)
                    if part is not None:
                        writer.add(part)
                        packed += 1
                writer.flush()
        return packed

    def pack_parts(self, videos: Sequence[Video], engine: Engine) -> int:
        """Pack videos into parts, which a run that is alone joins into shards; give how many were packed."""
        todo = [v for v in self._todo(videos) if read_part(self._part(v)) is None]
        jobs = {self._part(video).with_suffix(".job"): video for video in todo}
        packed = 0
        with self._working(todo, engine) as (pool, bar):
            for path, outcome in pool.run(self._write_jobs(jobs)):
                self._tell(bar)
                path.unlink(missing_ok=True)
                packed += self._taken(jobs[path], outcome) is not None
        return packed

    def _todo(self, videos: Sequence[Video]) -> list[Video]:
        todo = [video for video in videos if video.video_id not in self.rejects]
        _refuse_twins(todo)
        return todo

    def _tell(self, bar: Any) -> None:
        bar.update()
        bar.set_postfix(rejected=len(self.rejects), refresh=False)

    @contextlib.contextmanager
    def _working(self, todo: Sequence[Video], engine: Engine) -> Iterator[tuple[Engine, Any]]:
        bar = tqdm(
            total=len(todo),
            desc="packing",
            unit=" videos",
            file=self.log,
            mininterval=0.2 if self.log.isatty() else 10.0,
            disable=not todo,
            dynamic_ncols=True,
        )
        try:
            with contextlib.closing(bar), engine as pool:
                yield pool, bar
        except KeyboardInterrupt:
            print(f"stopped after {bar.n:,} of {len(todo):,} videos; the same command goes on", file=self.log)
            raise

    def _in_order(self, videos: Sequence[Video], pool: Engine) -> Iterator[Part | None]:
        """Give every video's part in the videos' order, as soon as it and all before it are done."""
        # Several videos may be intervals of one file: their ids tell them apart.
        done: dict[str, Part | None] = {}
        for video in videos:
            if (part := read_part(self._part(video))) is not None:
                done[video.video_id] = part  # of a run that was killed
        jobs = {self._part(v).with_suffix(".job"): v for v in videos if v.video_id not in done}
        outcomes = pool.run(self._write_jobs(jobs))
        for video in videos:
            while video.video_id not in done:
                path, outcome = next(outcomes)
                path.unlink(missing_ok=True)
                done[jobs[path].video_id] = self._taken(jobs[path], outcome)
            yield done.pop(video.video_id)

    def _write_jobs(self, jobs: Mapping[Path, Video]) -> Iterator[Path]:
        """Write each job down when a child is free for it."""
        for path, video in jobs.items():
            source = self.manifest.path_of(video).absolute()
            Job(source, self.manifest.corpus, video, self.packing, self._part(video)).write(path)
            yield path

    def _part(self, video: Video) -> Path:
        return self.parts / f"{key_of(video.video_id)}.part"

    def _taken(self, video: Video, outcome: Outcome) -> Part | None:
        """Take a packed video, or note why there is none; stops the run when a disk is gone."""
        if outcome.facts is not None:
            self._unreadable.clear()
            part = read_part(self._part(video))
            if part is None:
                raise cannot_write(self.folder, f"{self._part(video).name} is not what was written there")
            return part
        if outcome.reason == CANNOT_WRITE:
            raise cannot_write(self.folder, outcome.detail)
        if outcome.reason in _MISSING or not _is_there(self.manifest.path_of(video)):
            self._unreadable.append((video, outcome))
            self._stop_without_source(video, outcome)
            outcome = Outcome(None, UNREADABLE, outcome.detail)
        else:
            self._unreadable.clear()
        self.rejects[video.video_id] = Reject(video.path, outcome.reason, outcome.detail)
        if outcome.reason != UNREADABLE:  # which may pass: it is tried again by the next run
            record = {
                "video_id": video.video_id,
                "path": video.path,
                "reason": outcome.reason,
                "detail": outcome.detail,
                "limit": self.limit,
                "stamp": _stamp(),
            }
            with self._journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        return None

    def _stop_without_source(self, video: Video, outcome: Outcome) -> None:
        root = self.manifest.root
        lost = not root.is_dir() or next(root.iterdir(), None) is None
        if lost or len(self._unreadable) >= MOST_UNREADABLE:
            many = "no video can" if lost else f"{MOST_UNREADABLE} videos in a row could not"
            last = self.manifest.path_of(video)
            raise CorpusError(
                f"{many} be read in {root}, the last being {last} ({outcome.detail}): is the disk still there? "
                "The same command goes on once it is"
            )


def _refuse_twins(videos: Sequence[Video]) -> None:
    for key, count in Counter(key_of(video.video_id) for video in videos).items():
        if count > 1:
            raise CorpusError(f"{count} videos have the id {key}: run `avmi prepare` again")


def _is_there(path: Path) -> bool:
    return path.is_file() or tar_of(path) is not None


def _read_rejects(parts: Path, limit: float) -> dict[str, Reject]:
    """Recall which videos earlier runs could not pack; not those that more time may help."""
    rejects = {}
    for journal in sorted(parts.glob(f"{Path(REJECTS_JOURNAL).stem}*.jsonl")):
        for line in journal.read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                found = json.loads(line)
                if found["stamp"] == _stamp() and (
                    found["reason"] != "time_limit" or found["limit"] >= limit
                ):
                    rejects[found["video_id"]] = Reject(found["path"], found["reason"], found["detail"])
    return rejects


def _stamp() -> str:
    """Name what packs: another version may read what this one could not."""
    return f"avmi {importlib.metadata.version('avmi')}, av {importlib.metadata.version('av')}"


def cannot_write(folder: Path, why: str) -> CorpusError:
    """Make the error of an output that is full or gone."""
    free = ""
    with contextlib.suppress(OSError):
        free = f", {shutil.disk_usage(folder).free / 1e6:,.0f} MB are free"
    return CorpusError(
        f"{folder} cannot be written ({why}{free}): the shards in it are whole; once there is room, or the disk is "
        "back, the same command goes on"
    )
