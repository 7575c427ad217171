"""Videos whose sound is early or late by a known time → the curves and the files that `avmi mi lag` names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import probed
from making import write_video

from avmi.corpus.manifest import Reject, read_manifest, write_manifest, write_table
from avmi.errors import CorpusError, InputError
from avmi.types import Split
from avmi.workflows.mi_lag import mi_lag
from avmi.workflows.pretrain import pretrain

FRAME_RATE, RATE_HZ = 12, 16000
# What is to be seen and heard at one time: a colour and its tone.
COLOURS = np.array([(220, 40, 40), (40, 200, 60), (50, 70, 220), (230, 220, 60), (200, 200, 200)], np.uint8)
TONES_HZ = (300.0, 700.0, 1300.0, 2300.0, 4000.0)
# Sound of the test videos against their pictures, in seconds; positive: the sound comes late.
LATE_SECONDS = {"in_time_0": 0.0, "late": 1.0, "in_time_1": 0.0, "early": -0.75}


def scene(path: Path, *, seconds: float, late_seconds: float, seed: int) -> Path:
    """Write colours that change at random moments, and the tone of each colour `late_seconds` after it."""
    rng = np.random.default_rng(seed)
    changes = np.cumsum(rng.uniform(0.3, 1.1, size=round(4 * seconds)))
    kinds = np.cumsum(rng.integers(1, len(COLOURS), size=len(changes) + 1)) % len(COLOURS)

    def kind_at(times: np.ndarray) -> np.ndarray:
        return kinds[np.searchsorted(changes, times + 2.0)]

    times = np.arange(round(seconds * FRAME_RATE)) / FRAME_RATE
    clock = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch = np.array(TONES_HZ)[kind_at(clock - late_seconds)]
    write_video(
        path,
        pictures=(np.full((32, 48, 3), COLOURS[kind], np.uint8) for kind in kind_at(times)),
        times_seconds=times,
        samples=(0.4 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE_HZ)).astype(np.float32),
        sample_rate_hz=RATE_HZ,
        frame_rate=FRAME_RATE,
    )
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("late")
    root, corpus = folder / "videos", folder / "corpus"
    root.mkdir()
    corpus.mkdir()
    videos = []
    for number in range(4):
        path = scene(root / f"train_{number}.mp4", seconds=16, late_seconds=0.0, seed=number)
        videos.append(probed(path, root=root, split="train"))
    splits: dict[str, Split] = dict.fromkeys(LATE_SECONDS, "test")
    for number, (name, late) in enumerate(LATE_SECONDS.items()):
        path = scene(root / f"{name}.mp4", seconds=16, late_seconds=late, seed=10 + number)
        videos.append(probed(path, root=root, split=splits[name]))
    write_manifest(corpus, videos, root=root)
    write_table(corpus / "rejects.parquet", (), row_type=Reject)
    return corpus


@pytest.fixture(scope="module")
def run(corpus: Path, tiny_config: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    pretrain(
        tiny_config(
            corpus,
            run,
            views={
                "image": {"kind": "frame", "at_seconds": 0.15},
                "sound": {"kind": "audio", "at_seconds": 0.0, "window_seconds": 0.32},
            },
            negatives=("other_videos", "same_video"),
            data={"batch_clips": 32, "clips_per_video": 8, "memory_gigabytes": 1.0},
            optimizer={"steps": 40, "learning_rate": 3e-3},
            logging={"log_every_steps": 20, "evaluate_every_steps": 100, "checkpoint_every_steps": 100},
        )
    )
    return run


@pytest.fixture(scope="module")
def found(run: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("drawn")
    result = mi_lag(
        run, corpus, from_seconds=-2.0, to_seconds=2.0, step_seconds=0.25,
        report=folder / "lag.html", plot=folder / "lag.png",
    )  # fmt: skip
    return {"json": result.as_json(), "text": result.as_text(), "folder": folder}


def test_files_whose_sound_is_shifted_are_named_with_their_lag_and_no_others(found: dict[str, Any]) -> None:
    files = {Path(file["video"]).stem: file for file in found["json"]["files"]}
    assert set(files) == set(LATE_SECONDS)
    assert {name: file["peak_seconds"] for name, file in files.items()} == LATE_SECONDS
    assert {name for name, file in files.items() if file["off_zero"]} == {"late", "early"}
    assert all(files[name]["share"] >= 0.98 for name in ("late", "early"))
    assert all(files[name]["gain_nats"] > 0.3 for name in ("late", "early"))


def test_the_text_names_them_and_says_how_sure(found: dict[str, Any]) -> None:
    lines = found["text"].splitlines()
    (late,) = [line for line in lines if "late.mp4" in line]
    assert "late.mp4: +1 s" in late
    assert "of resamples" in late
    assert any("2 of 4 files have their peak off 0" in line for line in lines)
    assert not any("in_time" in line for line in lines)


def test_every_lag_has_the_same_moments_and_both_ceilings(found: dict[str, Any]) -> None:
    values = found["json"]
    assert values["lags_seconds"] == [lag / 4 for lag in range(-8, 9)]
    corpus = values["corpus"]
    # 16 s hold anchors from 0 to 15.68 of sounds; two seconds are kept free on both sides.
    assert corpus["moments"] == [4 * 47] * 17
    assert values["moments"] == 4 * 47
    assert all(
        bound <= cosine + 1e-6 <= ceiling + 2e-6
        for bound, cosine, ceiling in zip(
            corpus["bound_nats"], corpus["cosine_ceiling_nats"], corpus["ceiling_nats"], strict=True
        )
    )
    assert corpus["ceiling_nats"] == pytest.approx([np.log(1 + 3 * 47)] * 17)
    # Half of the files are in time.
    assert corpus["peak_seconds"] == 0.0


def test_the_page_and_the_picture_are_written(found: dict[str, Any]) -> None:
    page = (found["folder"] / "lag.html").read_text()
    assert "Files off 0" in page
    assert "late.mp4" in page
    assert (found["folder"] / "lag.png").read_bytes().startswith(b"\x89PNG")


def test_each_lag_may_take_the_moments_that_it_has(run: Path, corpus: Path) -> None:
    values = mi_lag(
        run, corpus, from_seconds=-1.0, to_seconds=2.0, step_seconds=0.5, moments="each"
    ).as_json()
    number = values["moments"] // 4
    late = [values["corpus"]["moments"][place] // 4 for place in range(7)]
    assert late == [number - 2, number - 1, number, number - 1, number - 2, number - 3, number - 4]
    assert {Path(f["video"]).stem: f["peak_seconds"] for f in values["files"]}["late"] == 1.0


def test_lags_that_no_file_is_long_enough_for_are_an_error(run: Path, corpus: Path) -> None:
    with pytest.raises(CorpusError, match=r"sound is there at every one of them .*moments=each"):
        mi_lag(run, corpus, from_seconds=-10.0, to_seconds=10.0)


@pytest.mark.parametrize(
    ("lags", "told"),
    [
        ({"from_seconds": 0.5}, "must hold 0"),
        ({"from_seconds": 0.0, "to_seconds": 0.0}, "must hold 0 and another one"),
        ({"from_seconds": -0.7}, "no whole numbers of steps of 0.5 s"),
        ({"step_seconds": 0.0}, "the step is above 0"),
    ],
)
def test_lags_that_make_no_grid_with_zero_in_it_are_an_error(lags: dict[str, float], told: str) -> None:
    with pytest.raises(InputError, match=told):
        mi_lag("nowhere", "nowhere", **lags)


def test_views_must_be_a_picture_and_a_sound(run: Path, corpus: Path) -> None:
    with pytest.raises(InputError, match="sound is no picture of the checkpoint; it has image"):
        mi_lag(run, corpus, views=("sound", "image"))


def test_videos_that_are_gone_are_an_error_that_names_them(run: Path, corpus: Path, tmp_path: Path) -> None:
    moved = tmp_path / "corpus"
    moved.mkdir()
    test = read_manifest(corpus).split("test")
    write_manifest(moved, test.videos, root=tmp_path)
    with pytest.raises(CorpusError, match=r"fewer than two videos .* can be read .*late\.mp4"):
        mi_lag(run, moved, from_seconds=-1.0, to_seconds=1.0)
