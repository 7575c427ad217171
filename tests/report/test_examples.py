"""Pictures with the sounds that they found → one picture of them, and the sounds: those of the hits, sample by sample."""

import time
from typing import Any

import numpy as np
import pytest
from corpora import probed
from making import make_clip

from avmi.config.parts import LogMel
from avmi.corpus.manifest import Manifest
from avmi.index import FoundClips, Hit
from avmi.report import examples as module
from avmi.report.examples import ExampleSheet
from avmi.report.figures import COLOURS
from avmi.report.moments import read_moments

TONES = {"dog": 500.0, "bell": 1500.0, "car": 3000.0}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Three videos of one tone each, and a fourth that is no video any more."""
    root = tmp_path_factory.mktemp("examples")
    colours = {"dog": (220, 40, 40), "bell": (40, 200, 60), "car": (40, 70, 220)}
    paths = [make_clip(root / f"{n}.mp4", tone_hz=hz, colour=colours[n]) for n, hz in TONES.items()]
    rows = [probed(path, root=root, label=path.stem) for path in paths]
    broken = make_clip(root / "broken.mp4", seconds=2.0)
    rows.append(probed(broken, root=root, label="car"))
    broken.write_bytes(broken.read_bytes()[:700])
    return Manifest(root, tuple(rows))


def hit(name: str, start: float, end: float, *, rank: int = 1, label: str = "") -> Hit:
    return Hit(rank, 1 - rank / 10, f"{name}.mp4", start, end, label or name, f"{name}@{start}", "valid")


def example(own_rank: int, *best: Hit) -> FoundClips:
    return FoundClips(hit("dog", 1.5, 1.5), hit("dog", 1.0, 2.0, rank=own_rank), best, gallery=40)


def loudest_hz(sound: Any) -> float:
    spectrum = np.abs(np.fft.rfft(sound.samples * np.hanning(len(sound.samples))))
    return float(spectrum.argmax() * sound.sample_rate_hz / len(sound.samples))


def sheet_of(manifest: Manifest, *, limit: float = 30.0) -> ExampleSheet:
    return ExampleSheet(manifest, log_mel=LogMel(), time_limit_seconds=limit)


def test_the_sounds_are_those_of_the_hits_in_their_order(manifest: Manifest) -> None:
    found = example(3, hit("car", 0.5, 1.5), hit("bell", 1.0, 2.0, rank=2), hit("dog", 1.0, 2.0, rank=3))
    other = FoundClips(
        hit("bell", 1.5, 1.5), hit("bell", 1.0, 2.0), (hit("dog", 0.25, 1.25, rank=1),), gallery=40
    )
    _, (first, second) = sheet_of(manifest)([found, other])
    assert [loudest_hz(sound) for sound in first] == pytest.approx([500, 3000, 1500, 500], abs=5)
    assert [loudest_hz(sound) for sound in second] == pytest.approx([1500, 500], abs=5)
    assert first[1] is not None
    assert (first[1].start_seconds, first[1].end_seconds) == (0.5, 1.5)
    assert first[1].sample_rate_hz == 16000


def test_fields_have_the_picture_of_the_moment_and_the_colour_of_the_verdict(manifest: Manifest) -> None:
    right, related, wrong = (_rgb(COLOURS[n]) for n in (2, 4, 1))
    found = example(
        2,
        hit("bell", 1.0, 2.0),
        hit("dog", 1.0, 2.0, rank=2),
        hit("dog", 0.0, 1.0, rank=3),
        hit("car", 1.0, 2.0, rank=4, label="dog"),
    )
    pixels, _ = sheet_of(manifest)([found])
    across = module._CELL_PX + module._GAP_PX
    fields = [
        pixels[module._GAP_PX :, module._GAP_PX + n * across : (n + 1) * across]
        for n in range(pixels.shape[1] // across)
    ]
    assert len(fields) == 6
    borders = [field[module._PICTURE_PX // 2, 1].tolist() for field in fields]
    assert borders[2:] == [wrong, right, related, related]
    # The square moves to the right: in its middle the picture has the colour of its video.
    strongest = [field[: module._PICTURE_PX].astype(int).sum(axis=(0, 1)).argmax() for field in fields]
    assert strongest[:2] == [0, 0]
    assert strongest[5] == 2


def _rgb(colour: str) -> list[int]:
    return [int(colour[n : n + 2], 16) for n in (1, 3, 5)]


def test_a_video_that_cannot_be_read_or_is_not_there_is_a_field_without_a_sound(manifest: Manifest) -> None:
    found = example(
        1, hit("dog", 1.0, 2.0), hit("broken", 0.5, 1.5, rank=2), hit("gone", 0.0, 1.0, rank=3, label="?")
    )
    pixels, (sounds,) = sheet_of(manifest)([found])
    assert [sound is None for sound in sounds] == [False, False, True, True]
    assert pixels.shape == sheet_of(manifest)([example(1, *[hit("dog", 1.0, 2.0)] * 3)])[0].shape


def test_a_moment_is_decoded_once(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Hit] = []

    def counted(hits: Any, *given: Any, **more: Any) -> Any:
        asked.extend(hits)
        return read_moments(hits, *given, **more)

    monkeypatch.setattr(module, "read_moments", counted)
    sheet = sheet_of(manifest)
    first, _ = sheet([example(2, hit("car", 1.0, 2.0))])
    again, _ = sheet([example(2, hit("car", 1.0, 2.0))])
    np.testing.assert_array_equal(first, again)
    assert len(asked) == 3
    sheet([example(1, hit("bell", 1.0, 2.0))])
    assert [found.video for found in asked[3:]] == ["bell.mp4"]


@pytest.mark.parametrize("failure", ["hangs", "raises"])
def test_reading_that_hangs_or_fails_oddly_does_not_stop_a_run(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: str
) -> None:
    def odd(*given: Any, **more: Any) -> Any:
        if failure == "raises":
            raise ZeroDivisionError("an odd header")
        time.sleep(1.0)
        return []

    monkeypatch.setattr(module, "read_moments", odd)
    sheet = sheet_of(manifest, limit=0.1)
    begin = time.monotonic()
    for _ in range(2):
        _, (sounds,) = sheet([example(2, hit("car", 1.0, 2.0))])
        assert sounds == [None, None]
    assert time.monotonic() - begin < 0.9
    assert caplog.text.count("longer than data.time_limit_seconds (0.1)") == (failure == "hangs")


def test_without_examples_the_sheet_is_empty(manifest: Manifest) -> None:
    pixels, sounds = sheet_of(manifest)([])
    assert (pixels.min(), sounds) == (255, [])
