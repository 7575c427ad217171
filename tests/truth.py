"""Names of truth files → files whose every picture and sample is known, with what is true of them.

Pictures carry their number burnt in, the sound is seeded noise. The times in a `Truth` follow from how
the file was written, never from reading it back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from making import Encoding, noise, numbered_picture, write_video
from turning import turn

PCM_AVI = Encoding(video_codec="mpeg4", audio_codec="pcm_s16le", ticks_hz=None)
# Closed or open groups, and as many B-frames as x264 will place in such pictures.
B_FRAMES = {"x264-params": "b-adapt=0:b-pyramid=none"}
OPEN_GOP = {"x264-params": "open-gop=1:b-adapt=0:b-pyramid=normal:scenecut=0"}


@dataclass(frozen=True)
class Truth:
    """What is true of a file: picture `numbers[i]` comes up at `times_seconds[i]`, the last one goes at the end."""

    path: Path
    times_seconds: np.ndarray
    numbers: np.ndarray
    end_seconds: float
    sound: np.ndarray | None  # mono
    sound_start_seconds: float
    sound_hz: int
    clock_slack_seconds: float  # how coarse the container's clock is
    rotation_degrees: int = 0


@dataclass(frozen=True)
class Recipe:
    """How a truth file is written."""

    suffix: str
    size: tuple[int, int] = (96, 64)
    frames: int = 60
    frame_rate: Fraction | int = 25
    video_start_seconds: float = 0.0
    steps_seconds: tuple[float, ...] | None = None  # variable distances, in turn
    sound_hz: int = 48000
    sound_start_seconds: float = 0.0
    channel_gains: tuple[float, ...] = (1.0,)
    encoding: Encoding = field(default_factory=Encoding)
    clock_slack_seconds: float = 1e-6
    swallowed_samples: int = 0  # of the beginning of the sound, which the decoder does not give
    shift_seconds: float = 0.0  # by which the container moves everything so as to start at 0

    def times(self) -> np.ndarray:
        """When the pictures come up, and when the last goes."""
        period = float(1 / Fraction(self.frame_rate))
        if self.steps_seconds is None:
            return self.video_start_seconds + np.arange(self.frames + 1) * period
        steps = np.resize(self.steps_seconds, self.frames)
        steps[-1] = period
        return self.video_start_seconds + np.concatenate([[0], np.cumsum(steps)])


def write_truth(path: Path, recipe: Recipe) -> Truth:
    """Write a recipe's file."""
    times = recipe.times()
    sound = noise(times[-1] - recipe.sound_start_seconds, sample_rate_hz=recipe.sound_hz, seed=recipe.frames)
    channels = np.outer(recipe.channel_gains, sound)
    write_video(
        path,
        pictures=(numbered_picture(i, size=recipe.size) for i in range(recipe.frames)),
        times_seconds=times[:-1],
        samples=channels[0] if len(channels) == 1 else channels,
        sample_rate_hz=recipe.sound_hz,
        audio_start_seconds=recipe.sound_start_seconds,
        frame_rate=recipe.frame_rate,
        encoding=recipe.encoding,
    )
    return Truth(
        path=path,
        times_seconds=times[:-1] + recipe.shift_seconds,
        numbers=np.arange(recipe.frames),
        end_seconds=times[-1] + recipe.shift_seconds,
        sound=channels.mean(axis=0)[recipe.swallowed_samples :],
        sound_start_seconds=recipe.sound_start_seconds
        + recipe.swallowed_samples / recipe.sound_hz
        + recipe.shift_seconds,
        sound_hz=recipe.sound_hz,
        clock_slack_seconds=recipe.clock_slack_seconds,
    )


# The first samples are the encoder's delay (1024 in AAC, 481 in MP2, 2048 in WMA); containers that cannot
# say so begin with them.
_AAC_DELAY, _MP2_DELAY = 1024 / 48000, 481 / 48000
_TO_MS = 0.5001e-3

RECIPES = {
    "plain": Recipe("mp4", size=(96, 64), sound_hz=44100),
    "late video": Recipe("mp4", size=(112, 64), video_start_seconds=0.5),
    "late sound": Recipe("mp4", size=(128, 80), sound_start_seconds=0.3, sound_hz=16000),
    "variable rate": Recipe("mp4", size=(80, 96), steps_seconds=(0.02, 0.04, 0.2, 0.033, 0.067)),
    "29.97 Hz, stereo": Recipe(
        "mov", frames=75, frame_rate=Fraction(30000, 1001), sound_hz=32000, channel_gains=(1.0, 0.3)
    ),
    "B-frames": Recipe("mp4", frames=90, encoding=Encoding(b_frames=3, video_options=B_FRAMES)),
    "open GOP": Recipe("mp4", frames=88, encoding=Encoding(b_frames=3, video_options=OPEN_GOP)),
    "one long GOP": Recipe("mp4", frames=240, encoding=Encoding(gop=250, b_frames=2, video_options=B_FRAMES)),
    "intra refresh": Recipe("mp4", encoding=Encoding(video_options={"x264-params": "intra-refresh=1"})),
    "fragmented": Recipe(
        "mp4",
        size=(64, 80),
        encoding=Encoding(container_options={"movflags": "frag_keyframe+delay_moov+default_base_moof"}),
    ),
    "mkv AAC": Recipe("mkv", sound_hz=44100, clock_slack_seconds=_TO_MS),
    "mkv variable": Recipe(
        "mkv", size=(64, 96), frames=24, steps_seconds=(0.021, 0.3, 0.05), clock_slack_seconds=_TO_MS
    ),
    "mkv Opus": Recipe(
        "mkv",
        frames=50,
        encoding=Encoding(audio_codec="libopus", b_frames=2, video_options=B_FRAMES),
        clock_slack_seconds=_TO_MS,
    ),
    "webm": Recipe(
        "webm",
        size=(128, 64),
        frames=36,
        encoding=Encoding(
            video_codec="libvpx-vp9",
            video_options={"deadline": "realtime", "cpu-used": "8"},
            audio_codec="libopus",
        ),
        clock_slack_seconds=_TO_MS,
    ),
    "HEVC": Recipe(
        "mp4",
        size=(144, 96),
        frames=48,
        encoding=Encoding(
            video_codec="libx265",
            video_options={
                "preset": "ultrafast",
                "x265-params": "log-level=none:open-gop=1:bframes=3:pools=1",
            },
            b_frames=3,
        ),
    ),
    "MPEG-TS": Recipe(
        "ts", encoding=Encoding(b_frames=2), shift_seconds=_AAC_DELAY, clock_slack_seconds=12e-6
    ),
    "MPEG-TS of MPEG-2": Recipe(
        "ts",
        size=(128, 96),
        encoding=Encoding(
            video_codec="mpeg2video",
            audio_codec="mp2",
            b_frames=2,
            ticks_hz=None,
            video_options={"b": "800k"},
        ),
        shift_seconds=481 / 48000,
        clock_slack_seconds=12e-6,
    ),
    # Its decoder gives pictures without waiting for a keyframe.
    "MPEG-TS of MPEG-4": Recipe(
        "ts",
        size=(128, 96),
        encoding=Encoding(video_codec="mpeg4", audio_codec="mp2", ticks_hz=None),
        shift_seconds=_MP2_DELAY,
        clock_slack_seconds=12e-6,
    ),
    "MPEG-PS": Recipe(
        "mpg",
        size=(80, 64),
        encoding=Encoding(video_codec="mpeg2video", audio_codec="mp2", b_frames=2, ticks_hz=None),
        shift_seconds=_MP2_DELAY,
        clock_slack_seconds=12e-6,
    ),
    "flv": Recipe("flv", sound_hz=44100, shift_seconds=1024 / 44100, clock_slack_seconds=_TO_MS),
    "wmv": Recipe(
        "wmv",
        size=(112, 80),
        encoding=Encoding(video_codec="wmv2", audio_codec="wmav2", ticks_hz=1000),
        swallowed_samples=2048,
        shift_seconds=2048 / 48000,
        clock_slack_seconds=_TO_MS,
    ),
    "avi": Recipe("avi", size=(96, 80), encoding=PCM_AVI),
    "avi B-frames": Recipe("avi", frames=64, encoding=replace(PCM_AVI, b_frames=2)),
}


def write_cut(path: Path, source: Truth, *, from_seconds: float) -> Truth:
    """Cut a file without decoding it: packets before the cut stay in, and an edit list hides them."""
    with av.open(str(source.path)) as whole, av.open(str(path), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in whole.streams}
        whole.seek(int(from_seconds * av.time_base))
        for packet in whole.demux():
            if packet.dts is None:
                continue
            cut = round(Fraction(from_seconds) / packet.time_base)
            packet.pts, packet.dts = packet.pts - cut, packet.dts - cut
            packet.stream = streams[packet.stream_index]
            out.mux(packet)
    shown = source.times_seconds >= from_seconds - 1e-9
    return replace(
        source,
        path=path,
        times_seconds=source.times_seconds[shown] - from_seconds,
        numbers=source.numbers[shown],
        end_seconds=source.end_seconds - from_seconds,
        sound=source.sound[round(from_seconds * source.sound_hz) :],
    )


def write_rotated(path: Path, recipe: Recipe) -> Truth:
    """Write pictures lying on their left side and a matrix that turns them clockwise, as telephones do."""
    times = recipe.times()
    sound = noise(times[-1], sample_rate_hz=recipe.sound_hz)
    pictures = (np.rot90(numbered_picture(i, size=recipe.size)) for i in range(recipe.frames))
    write_video(
        path,
        pictures=pictures,
        times_seconds=times[:-1],
        samples=sound,
        sample_rate_hz=recipe.sound_hz,
        encoding=recipe.encoding,
    )
    turn(path, 90)
    return Truth(path, times[:-1], np.arange(recipe.frames), times[-1], sound, 0.0, recipe.sound_hz, 1e-6, 90)


def _cut_of_plain(folder: Path) -> Truth:
    whole = write_truth(folder / "whole.mp4", replace(RECIPES["plain"], frames=100))
    return write_cut(folder / "cut.mp4", whole, from_seconds=1.48)


def _cut_of_b_frames(folder: Path) -> Truth:
    encoding = Encoding(gop=250, b_frames=3, video_options=B_FRAMES)
    whole = write_truth(folder / "whole b.mp4", replace(RECIPES["B-frames"], frames=130, encoding=encoding))
    return write_cut(folder / "cut b.mp4", whole, from_seconds=3.2)


TRUTH_FILES: dict[str, Callable[[Path], Truth]] = {
    **{
        name: lambda folder, name=name, recipe=recipe: write_truth(folder / f"{name}.{recipe.suffix}", recipe)
        for name, recipe in RECIPES.items()
    },
    "rotated": lambda folder: write_rotated(folder / "rotated.mp4", Recipe("mp4", size=(80, 112), frames=40)),
    "edit list": _cut_of_plain,
    "edit list, B-frames": _cut_of_b_frames,
}
