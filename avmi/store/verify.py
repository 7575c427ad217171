"""A folder of shards → what is broken in it: every shard's and, where that fails, every member's checksum."""

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

from avmi.errors import CorpusError, DecodeError
from avmi.store.index import index_path, read_index
from avmi.store.sample import WAV_HEADER_BYTES, wav_header
from avmi.store.shard import Sample, Shard
from avmi.store.writer import rebuild_index


def broken_in(shard: Path) -> Iterator[tuple[str, str]]:
    """Name what is broken in a shard, each with the reason; nothing when it is as it was written.

    An index that is missing or damaged is made again from the tar.
    """
    if not shard.is_file():
        yield shard.name, "the shard is missing"
        return
    try:
        index = read_index(index_path(shard), check=True)
    except DecodeError:
        try:
            index = rebuild_index(shard)
        except CorpusError as error:
            yield shard.name, str(error)
            return
    try:
        with shard.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == index.sha256
        size = shard.stat().st_size
    except OSError as error:
        yield shard.name, f"it cannot be read: {error.strerror or error}"
        return
    if size != index.size_bytes:
        yield shard.name, f"it has {size:,} bytes, written were {index.size_bytes:,}"
        return
    # Members are checked in any case: the sum of an index that was made again is that of a damaged tar.
    found = list(_broken_members(shard))
    yield from found
    if not same and not found:
        yield shard.name, "its checksum is another: something between the members changed"


def _broken_members(shard: Path) -> Iterator[tuple[str, str]]:
    opened = Shard(shard)
    for key in opened.index.keys:
        try:
            check_sample(opened.sample(key))
        except DecodeError as error:
            yield f"{shard.name}/{key}", str(error)


def check_sample(sample: Sample) -> None:
    """Read everything of a sample; raises `DecodeError` at the first damage."""
    facts = sample.facts()
    for place in range(len(sample.frames)):
        sample.jpeg(place)
    match sample.codec:
        case "pcm":
            sample.pcm(0, int(sample.row["sound_samples"]))
            head = sample.bytes(int(sample.row["sound_offset"]), WAV_HEADER_BYTES)
            expected = wav_header(int(sample.row["sound_samples"]), int(sample.row["sound_rate_hz"]))
            if zlib.crc32(head) != zlib.crc32(expected):
                raise DecodeError(f"{sample.where}: its sound is damaged", reason="shard_damaged")
        case "flac":
            sample.flac()
    if facts.key != sample.key:
        raise DecodeError(f"{sample.where}: its index does not fit it", reason="shard_damaged")
