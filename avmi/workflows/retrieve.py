"""`avmi retrieve`: an index and pictures (or sounds) → the clips that go with them, a page, WAV files."""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from avmi.corpus.manifest import Manifest, Video, read_manifest
from avmi.decode.clip import Waveform
from avmi.embedder import Embedder, load
from avmi.errors import CheckpointError, CorpusError, SearchIndexError, UsageError
from avmi.index import Hit, Index
from avmi.report.moments import find_videos, read_moments, wav_bytes
from avmi.report.page import write_page
from avmi.report.retrieval import PLAYER_HZ, ShownQuery, retrieval_page
from avmi.types import Modality, StrPath
from avmi.views.picture import read_picture
from avmi.views.sound import read_sound

log = logging.getLogger(__name__)

Given = UInt8[np.ndarray, "height width 3"] | Waveform


@dataclass(frozen=True)
class Found:
    """The hits of one query, best first."""

    query: Path
    finds: Modality  # what the hits are: sounds for a picture, pictures for a sound
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class RetrieveResult:
    """What every query found, and the files that were written."""

    found: tuple[Found, ...]
    missing: frozenset[str]  # videos of hits that are no longer where the corpus has them
    report: Path | None = None
    saved: tuple[Path, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give plain values: {"hits": […]} of one query, {"queries": [{"query", "hits"}, …]} of several.

        A hit whose video is no longer there has "missing": true; the others do not have the key.
        """
        every = [[self._hit(hit) for hit in found.hits] for found in self.found]
        if len(every) == 1:
            return {"hits": every[0]}
        pairs = zip(self.found, every, strict=True)
        return {"queries": [{"query": str(found.query), "hits": hits} for found, hits in pairs]}

    def as_text(self) -> str:
        """Lay the hits out as tables."""
        lines: list[str] = []
        for found in self.found:
            what = "sounds" if found.finds == "audio" else "pictures"
            lines += [f"{what} for {found.query}", *self._table(found.hits), ""]
        if self.saved:
            below = os.path.commonpath([path.parent for path in self.saved])
            lines.append(f"{len(self.saved)} sounds saved below {below}")
        if self.report is not None:
            lines.append(f"report: {self.report}")
        return "\n".join(lines).rstrip()

    def _hit(self, hit: Hit) -> dict[str, Any]:
        return {**hit.as_json(), "missing": True} if hit.video in self.missing else hit.as_json()

    def _table(self, hits: Sequence[Hit]) -> list[str]:
        labels = max((len(hit.label) for hit in hits), default=0)
        label_width = max(labels, 5) if labels else 0
        lines = [
            f"{'rank':>4}  {'score':>6}  {'seconds':>15}  {'label' if labels else '':<{label_width}}  video"
        ]
        for hit in hits:
            span = f"{hit.start_seconds:.2f}–{hit.end_seconds:.2f}"
            if hit.end_seconds <= hit.start_seconds:
                span = f"{hit.start_seconds:.2f}"
            note = "  (missing)" if hit.video in self.missing else ""
            lines.append(
                f"{hit.rank:>4}  {hit.score:>6.3f}  {span:>15}  {hit.label:<{label_width}}  {hit.video}{note}"
            )
        return lines


def retrieve(
    index: StrPath,
    *,
    image: StrPath | Sequence[StrPath] = (),
    audio: StrPath | Sequence[StrPath] = (),
    k: int = 10,
    report: StrPath | None = None,
    save_audio: StrPath | None = None,
    one_per_video: bool = False,
) -> RetrieveResult:
    """Find the k sounds that go best with each picture, and the k pictures with each sound file.

    `report` is an HTML page to write, whole in itself; `save_audio` a folder for the found sounds as WAV
    files. `one_per_video` keeps the best hit of each video. Raises `UsageError` without a query and for
    places that cannot be written (before any work), `InputError` for a file that is no picture or sound,
    `SearchIndexError` for an index that is broken or of another model.
    """
    pictures, sounds = _paths(image), _paths(audio)
    _check(pictures, sounds, k=k, save_audio=save_audio)
    for place in (report, save_audio):
        if place is not None:
            _require_writable(Path(place), is_folder=place is save_audio)
    given: list[Given] = [read_picture(path) for path in pictures]
    given += [read_sound(path) for path in sounds]
    opened = Index.open(index)
    model = _model_of(opened, index)
    queries = list(zip([*pictures, *sounds], given, strict=True))
    found = [_search(opened, model, path, query, k=k, one_per_video=one_per_video) for path, query in queries]
    hits = [hit for one in found for hit in one.hits]
    manifest = _manifest_of(opened)
    videos = find_videos(hits, manifest)
    shelf = _Shelf(manifest, videos)
    if report is not None:
        shown = [shelf.shown(one, query) for one, (_, query) in zip(found, queries, strict=True)]
        page = retrieval_page(
            shown, index=str(index), searched=opened.count(), model_hash=opened.info().model_hash
        )
        _write(Path(report), page)
    saved = shelf.save(found, Path(save_audio)) if save_audio is not None else ()
    return RetrieveResult(
        found=tuple(found),
        missing=frozenset({hit.video for hit in hits} - videos.keys()),
        report=None if report is None else Path(report),
        saved=saved,
    )


@dataclass(frozen=True)
class _Shelf:
    """The corpus that hits are taken from to be shown and saved."""

    manifest: Manifest | None
    videos: dict[str, Video]

    def shown(self, found: Found, given: Given) -> ShownQuery:
        moments = read_moments(found.hits, self.manifest, videos=self.videos, most_hz=PLAYER_HZ)
        return ShownQuery(str(found.query), given, hits=found.hits, moments=moments)

    def save(self, every: Sequence[Found], folder: Path) -> tuple[Path, ...]:
        """Write the found sounds, at their video's own rate; of several queries, each into a folder."""
        saved: list[Path] = []
        every = [found for found in every if found.finds == "audio"]
        for number, found in enumerate(every, start=1):
            below = folder if len(every) == 1 else folder / f"{number:02}_{_safe(found.query.stem)}"
            moments = read_moments(found.hits, self.manifest, videos=self.videos)
            for hit, moment in zip(found.hits, moments, strict=True):
                if moment.sound is None:
                    log.warning("hit %d is not saved: %s: %s", hit.rank, hit.video, moment.problem)
                    continue
                stem = _safe(Path(hit.video).stem)
                path = below / f"{hit.rank:02}_{stem}_{hit.start_seconds:.2f}.wav"
                _write(path, wav_bytes(moment.sound))
                saved.append(path)
        return tuple(saved)


def _paths(given: StrPath | Sequence[StrPath]) -> list[Path]:
    one = isinstance(given, str | os.PathLike)
    return [Path(given)] if one else [Path(path) for path in given]  # type: ignore[arg-type,union-attr]


def _check(pictures: list[Path], sounds: list[Path], *, k: int, save_audio: StrPath | None) -> None:
    if not pictures and not sounds:
        raise UsageError(
            "there is nothing to search for: give a picture with --image, or a sound with --audio"
        )
    if k < 1:
        raise UsageError(f"--k is the number of hits, 1 or more, got {k}")
    if save_audio is not None and not pictures:
        raise UsageError("--save-audio saves the sounds that a picture finds: give one with --image")


def _require_writable(path: Path, *, is_folder: bool) -> None:
    """Find out before the work whether its result can be written; nothing is made here."""
    what = "folder" if is_folder else "page"
    if path.exists() and path.is_dir() != is_folder:
        is_what = "a file" if is_folder else "a folder"
        raise UsageError(f"cannot write the {what} {path}: it is {is_what}; choose another name")
    standing = path if path.exists() else next(p for p in path.absolute().parents if p.exists())
    if standing != path and not standing.is_dir():
        raise UsageError(f"cannot write {path}: {standing} is no folder; choose another place")
    if not os.access(standing, os.W_OK):
        raise UsageError(f"cannot write {path}: {standing} is not writable; choose another place")


def _model_of(index: Index, path: StrPath) -> Embedder:
    info = index.info()
    try:
        model = load(info.checkpoint)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} was made by a checkpoint that cannot be loaded any more ({error}): "
            "make the index again with `avmi index`"
        ) from error
    if model.model_hash != info.model_hash:
        raise SearchIndexError(
            f"{path} was made by model {info.model_hash}, but {info.checkpoint} now holds "
            f"{model.model_hash}: make the index again with `avmi index`"
        )
    return model


def _manifest_of(index: Index) -> Manifest | None:
    corpus = index.info().corpus
    try:
        if not corpus:
            raise CorpusError("the index does not say of which corpus it was made")
        return read_manifest(corpus)
    except CorpusError as error:
        log.warning("the hits' videos cannot be found: %s", error)
        return None


def _search(index: Index, model: Embedder, path: Path, given: Given, *, k: int, one_per_video: bool) -> Found:
    finds: Modality = "image" if isinstance(given, Waveform) else "audio"
    if isinstance(given, Waveform):
        vectors = model.embed_audio(given.samples, sample_rate_hz=given.sample_rate_hz)
    else:
        vectors = model.embed_images([given])
    (hits,) = index.search(vectors, k=k, kind=finds, one_per_video=one_per_video)
    return Found(path, finds, tuple(hits))


def _safe(stem: str) -> str:
    """Make a file name of anything: letters and digits of any script, no leading dash or dot."""
    return re.sub(r"[^\w.-]+", "_", stem).strip("-._")[:50] or "video"


def _write(path: Path, content: str | bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            write_page(path, content)
            return
        temporary = path.with_name(f".{path.name[:40]}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write {path} ({error.strerror or error}): choose another place or free it"
        ) from error
