"""Views that shards cannot serve are errors of the configuration, which name the option of `avmi pack`."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from avmi.config.parts import ImageInput
from avmi.config.views import AudioView, FrameView, View
from avmi.errors import ConfigError
from avmi.store.packing import Packing, write_packing
from avmi.views.packed import blurred_crops, check_packed

VIEW: TypeAdapter[FrameView | AudioView] = TypeAdapter(View)


def views(**changes: Any) -> dict[str, Any]:
    return {"motion": VIEW.validate_python({"kind": "frame", **changes})}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_packing(tmp_path, Packing(frames_per_second=4.0, size_px=224, sample_rate_hz=16000))
    return tmp_path


def checked(views: dict[str, Any], corpus: Path, *, size_px: int = 224, sample_rate_hz: int = 16000) -> None:
    check_packed(views, image=ImageInput(size_px=size_px), sample_rate_hz=sample_rate_hz, corpus=corpus)


def test_pictures_closer_than_the_grid_are_refused(shards: Path) -> None:
    with pytest.raises(ConfigError, match=r"views\.motion\.spacing_seconds.*--frames-per-second 5"):
        checked(views(frames=3, spacing_seconds=0.2), shards)
    checked(views(frames=3, spacing_seconds=0.25), shards)
    checked(views(frames=1, spacing_seconds=0.2), shards)


@pytest.mark.parametrize(("spacing", "rate"), [(0.2, "5"), (0.1, "10"), (0.15, "7"), (1 / 24, "24")])
def test_the_rate_that_is_named_is_enough(tmp_path: Path, shards: Path, spacing: float, rate: str) -> None:
    with pytest.raises(ConfigError, match=f"--frames-per-second {rate}$"):
        checked(views(frames=2, spacing_seconds=spacing), shards)
    write_packing(tmp_path, Packing(frames_per_second=float(rate)))
    checked(views(frames=2, spacing_seconds=spacing), tmp_path)


def test_larger_pictures_and_higher_rates_than_stored_are_refused(shards: Path) -> None:
    with pytest.raises(ConfigError, match=r"image\.size_px.*--size 256"):
        checked(views(), shards, size_px=256)
    with pytest.raises(ConfigError, match=r"log_mel\.sample_rate_hz.*--sample-rate 22050"):
        checked(views(), shards, sample_rate_hz=22050)
    checked(views(), shards, size_px=112, sample_rate_hz=8000)


def test_other_corpora_are_not_checked(tmp_path: Path) -> None:
    checked(views(frames=3, spacing_seconds=0.01), tmp_path, size_px=1024, sample_rate_hz=96000)


def test_random_crops_of_small_pictures_are_warned_of(shards: Path) -> None:
    image = ImageInput(size_px=224)
    assert "--size 280" in blurred_crops(views(augment="light"), image=image, corpus=shards)
    assert blurred_crops(views(), image=image, corpus=shards) == ""
    assert blurred_crops(views(augment="light"), image=ImageInput(size_px=112), corpus=shards) == ""
