"""An hour of video in a shard: packing it takes the memory of a minute, a window of it the time of one in a minute."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from making import Encoding, frame_number, numbered_picture, write_video
from rows import video_row

from avmi.corpus.manifest import Video
from avmi.decode.pack import Job
from avmi.decode.shards import ShardDecoder
from avmi.store.packing import Packing
from avmi.store.sample import key_of
from avmi.store.writer import PARTS_FOLDER, ShardWriter, read_part

RATE_HZ = 8000
# The kernel's own peak of this program; that of getrusage begins with its parent's.
PACK = """
import sys
from pathlib import Path
from avmi.decode.pack import pack_video
pack_video(Path(sys.argv[1]))
print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""


def second_of_sound(second: int) -> np.ndarray:
    """A tone of its own in each second."""
    return 0.4 * np.sin(2 * np.pi * (200 + second % 997) * np.arange(RATE_HZ) / RATE_HZ)


def pack_in_child(folder: Path, *, minutes: int, audio: str) -> tuple[Path, Video, float]:
    """Write a video of one picture a second, pack it; give its place in a shard, its row and the megabytes it took."""
    seconds = 60 * minutes
    path = folder / f"{minutes}.mkv"
    if not path.exists():
        write_video(
            path,
            pictures=(numbered_picture(i % 250, size=(96, 64)) for i in range(seconds)),
            times_seconds=np.arange(seconds, dtype=np.float64),
            samples=np.concatenate([second_of_sound(second) for second in range(seconds)]),
            sample_rate_hz=RATE_HZ,
            frame_rate=1,
            encoding=Encoding(video_codec="mpeg4", audio_codec="pcm_s16le", ticks_hz=None),
        )
    extent = {"video_end_seconds": float(seconds), "audio_end_seconds": float(seconds)}
    row = video_row(str(path), last_frame_seconds=seconds - 1.0, container="matroska", **extent)
    shards = folder / f"{minutes} {audio}"
    parts = shards / PARTS_FOLDER
    parts.mkdir(parents=True)
    packing = Packing(frames_per_second=1.0, sample_rate_hz=RATE_HZ, audio=audio)
    Job(source=path, corpus=None, video=row, packing=packing, part=parts / "0.part").write(parts / "0.job")
    done = subprocess.run(
        [sys.executable, "-c", PACK, str(parts / "0.job")], capture_output=True, text=True, check=True
    )
    writer = ShardWriter(shards, "test", packing=packing)
    writer.add(read_part(parts / "0.part"))
    writer.flush()
    return shards / "test-00000.tar" / key_of(row.video_id), row, float(done.stdout) / 1024


def seconds_of_a_visit(path: Path, row: Video, *, at: int) -> float:
    """CPU time of a picture and a window of a second, the least of several; both are what they should be."""
    decoder = ShardDecoder(path.parent.parent)
    taken = []
    for _ in range(5):
        start = time.process_time()
        with decoder.open(path, video=row) as reader:
            frames = reader.frames([at + 0.5], short_side_px=None)
            heard = reader.audio(float(at), at + 1.0, sample_rate_hz=RATE_HZ).samples
        taken.append(time.process_time() - start)
        assert frame_number(frames.pixels[0]) == at % 250
        assert frames.times_seconds[0] == at
        np.testing.assert_allclose(heard, second_of_sound(at), atol=2e-4)
    return min(taken)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hour")


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("audio", ["pcm", "flac"])
def test_an_hour_takes_the_memory_and_the_time_of_two_minutes(folder, audio):
    short = pack_in_child(folder, minutes=2, audio=audio)
    long = pack_in_child(folder, minutes=60, audio=audio)
    print(f"{audio}: {short[2]:.0f} MB for two minutes, {long[2]:.0f} MB for an hour")
    assert long[2] - short[2] < 40  # the hour of sound alone is 115 MB in single precision
    near = seconds_of_a_visit(*short[:2], at=97)
    for at in (31, 1777, 3577):
        assert seconds_of_a_visit(*long[:2], at=at) < 3 * near + 2e-3
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds_of_a_visit(*long[:2], at=2000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024
