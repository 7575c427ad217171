"""Three pictures at 224 and three windows of 1.28 s of sound out of a 10-second video: ours against decord and torchcodec.

Run by hand: `python -m benchmarks.media.on_the_fly [--folder DIR] [--json]`. Every draw of random times is one cold
visit: open the file, cut, close, as training does. Ours reads by the packet table that `prepare` keeps, and for
comparison through the container; decord and torchcodec are used as their documentation shows, with one thread
(torchcodec's container and table of frames are read at every opening, because it keeps none; its mode with frame
mappings made beforehand is shown, too). All return the same pictures but for scaling, and 16 kHz mono sound.

"the codecs alone" is libavcodec on the packets that ours feeds, without reading, converting and cutting: what is left
to gain in Python.
"""

import base64
import contextlib
import dataclasses
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np

from avmi.corpus.manifest import Video
from avmi.corpus.packet_file import PacketRow, write_packets
from avmi.decode.on_screen import tolerance_ticks
from avmi.decode.packet_bytes import packet_of
from avmi.decode.packet_pictures import PacketPictures, open_video_decoder
from avmi.decode.packet_reader import open_file
from avmi.decode.packet_sound import PacketSound, open_audio_decoder
from avmi.decode.probe import probe
from avmi.decode.pyav import PyAvDecoder
from benchmarks.media.material import SECONDS, folder_of_arguments, material
from benchmarks.media.paired import paired, show

DRAWS = 4
SIDE_PX = 224
SOUND_HZ = 16000
WINDOW_SECONDS = 1.28

Draw = tuple[list[float], list[float]]  # of the pictures, of the windows' beginnings


def draws(seed: int = 0) -> list[Draw]:
    """Draw the times of every visit."""
    pick = random.Random(seed)
    last = SECONDS - WINDOW_SECONDS - 0.1
    return [
        (
            sorted(pick.uniform(0, SECONDS - 0.1) for _ in range(3)),
            sorted(pick.uniform(0, last) for _ in range(3)),
        )
        for _ in range(DRAWS)
    ]


def main() -> None:
    files = material(folder_of_arguments())
    results = []
    for name, path in files.items():
        with tempfile.TemporaryDirectory() as corpus:
            ways = _ways(path, Path(corpus))
            results.append(paired(f"{name}: {DRAWS} visits", ways, ours="ours, packet table"))
    show(results)


def _ways(path: Path, corpus: Path) -> dict[str, Callable[[], object]]:
    video = _prepared(path, corpus)
    visits = draws()
    size = round(video.width_px * SIDE_PX / video.height_px), SIDE_PX
    table, container = PyAvDecoder(corpus), PyAvDecoder()
    ways: dict[str, Callable[[], object]] = {
        "ours, packet table": lambda: [_ours(table, path, video, visit) for visit in visits],
        "ours, container": lambda: [_ours(container, path, video, visit) for visit in visits],
        "decord": lambda: [_decord(path, size, visit) for visit in visits],
    }
    with contextlib.suppress(ImportError, RuntimeError, OSError):  # an extra, and it needs FFmpeg's libraries
        import torchcodec  # noqa: F401

        _torchcodec(path, size, visits[0])
        ways["torchcodec"] = lambda: [_torchcodec(path, size, visit) for visit in visits]
        mappings = _mappings(path)
        ways["torchcodec, mappings given"] = lambda: [
            _torchcodec(path, size, visit, mappings=mappings) for visit in visits
        ]
    packets = [_packets_of(path, corpus, video, visit) for visit in visits]
    ways["the codecs alone"] = lambda: [_codecs_alone(path, corpus, video, fed) for fed in packets]
    return ways


def _prepared(path: Path, corpus: Path) -> Video:
    facts = probe(path)
    about = path.stat()
    row = PacketRow(
        facts["content_hash"], about.st_size, about.st_mtime_ns, base64.b64decode(facts.pop("packets"))
    )
    write_packets(corpus, [row])
    fields = {field.name for field in dataclasses.fields(Video)}
    rest = {name: fact for name, fact in facts.items() if name in fields}
    return Video(
        path=str(path),
        video_id="",
        label="",
        split="train",
        further_labels=(),
        is_interval=False,
        **rest,
    )


def _ours(decoder: PyAvDecoder, path: Path, video: Video, visit: Draw) -> object:
    with decoder.open(path, video=video) as reader:
        sound = [reader.audio(b, b + WINDOW_SECONDS, sample_rate_hz=SOUND_HZ).samples for b in visit[1]]
        return reader.frames(visit[0], short_side_px=SIDE_PX).pixels, sound


def _decord(path: Path, size: tuple[int, int], visit: Draw) -> object:
    import decord

    width, height = size
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), width=width, height=height, num_threads=1)
    stamps = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    pictures = reader.get_batch(np.searchsorted(stamps, visit[0], side="right") - 1).asnumpy()
    sound = decord.AudioReader(str(path), ctx=decord.cpu(0), sample_rate=SOUND_HZ, mono=True)
    windows = [
        sound[round(b * SOUND_HZ) : round((b + WINDOW_SECONDS) * SOUND_HZ)].asnumpy() for b in visit[1]
    ]
    return pictures, windows


def _torchcodec(path: Path, size: tuple[int, int], visit: Draw, *, mappings: str | None = None) -> object:
    import torch
    from torchcodec.decoders import AudioDecoder, VideoDecoder
    from torchvision.transforms.v2.functional import resize

    torch.set_num_threads(1)
    given = {"seek_mode": "exact"} if mappings is None else {"custom_frame_mappings": mappings}
    frames = VideoDecoder(str(path), num_ffmpeg_threads=1, **given).get_frames_played_at(visit[0]).data
    pictures = resize(frames, [size[1], size[0]], antialias=True)
    sound = AudioDecoder(str(path), sample_rate=SOUND_HZ, num_channels=1)
    return pictures, [sound.get_samples_played_in_range(b, b + WINDOW_SECONDS).data for b in visit[1]]


def _mappings(path: Path) -> str:
    """Make what `ffprobe -show_frames` would print of the pictures, in the form that torchcodec reads."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = sorted(
            (p for p in container.demux(stream) if p.size and p.pts is not None), key=lambda p: p.pts
        )
        frames = [{"pts": p.pts, "duration": p.duration, "key_frame": int(p.is_keyframe)} for p in packets]
    return json.dumps({"frames": frames})


def _packets_of(path: Path, corpus: Path, video: Video, visit: Draw) -> list[tuple[str, int, int, list[int]]]:
    """Note what ours feeds at a visit: the stream, first and last packet, and which of them are wanted."""
    fed: list[tuple[str, int, int, list[int]]] = []

    class Pictures(PacketPictures):
        def _decode(self, start: int, targets: set[int]) -> dict[int, av.VideoFrame]:
            fed.append(("picture", start, max(targets) + 1, sorted(targets)))
            return super()._decode(start, targets)

    class Sound(PacketSound):
        def _frames(self, start: int, end: int, *, goes_on: bool = False) -> object:
            fed.append(("sound", start, end, []))
            return super()._frames(start, end, goes_on=goes_on)

    table = _table(path, corpus, video)
    file, _ = open_file(path)
    with file:
        sound = Sound(file, table.sound, origin_seconds=0.0)
        for begin in visit[1]:
            sound.between(begin, begin + WINDOW_SECONDS, sample_rate_hz=SOUND_HZ)
        tick = float(table.pictures.tick)
        pictures = Pictures(file, table.pictures, tolerance_ticks=tolerance_ticks(tick))
        list(pictures.at([seconds / tick for seconds in visit[0]]))
    return fed


_TABLES: dict[Path, object] = {}
_CONTENTS: dict[Path, bytes] = {}


def _table(path: Path, corpus: Path, video: Video) -> object:
    if path not in _TABLES:
        _TABLES[path] = PyAvDecoder(corpus)._tables.find(video.content_hash, path.stat())
        _CONTENTS[path] = path.read_bytes()
    return _TABLES[path]


def _codecs_alone(
    path: Path, corpus: Path, video: Video, fed: Sequence[tuple[str, int, int, list[int]]]
) -> None:
    table, content = _table(path, corpus, video), _CONTENTS[path]
    contexts = {
        "picture": open_video_decoder(table.pictures.coding),
        "sound": open_audio_decoder(table.sound.coding),
    }
    for kind, start, end, wanted in fed:
        packets = table.pictures if kind == "picture" else table.sound
        context = contexts[kind]
        spans = zip(packets.places[start:end].tolist(), packets.sizes[start:end].tolist(), strict=True)
        contents = [content[place : place + size] for place, size in spans]
        if kind == "sound":  # AAC, several packets at a time, as ours does
            for first in range(0, len(contents), 16):
                context.decode(packet_of(b"".join(contents[first : first + 16])))
        else:
            for number, one in enumerate(contents, start):
                skip = "NONREF" if number != start and number not in wanted else "DEFAULT"
                if context.skip_frame != skip:
                    context.skip_frame = skip
                context.decode(packet_of(one))
        context.skip_frame = "DEFAULT"
        context.decode(None)
        context.flush_buffers()


if __name__ == "__main__":
    main()
