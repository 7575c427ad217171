"""Picture files of every sort → upright RGB pixels, or one clear sentence."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avmi.errors import InputError
from avmi.views.picture import read_picture

# Four flat quarters, so that a turn or a swap of channels shows: red, green / blue, white.
QUARTERS = np.zeros((40, 64, 3), np.uint8)
QUARTERS[:20, :32], QUARTERS[:20, 32:] = (200, 30, 30), (30, 180, 40)
QUARTERS[20:, :32], QUARTERS[20:, 32:] = (40, 50, 210), (240, 240, 240)


def assert_quarters(found: np.ndarray, *, within: int) -> None:
    assert found.dtype == np.uint8
    assert found.shape == QUARTERS.shape
    inner = np.zeros(QUARTERS.shape[:2], bool)
    for row, column in ((0, 0), (0, 32), (20, 0), (20, 32)):
        inner[row + 6 : row + 14, column + 8 : column + 24] = True
    assert np.abs(found[inner].astype(int) - QUARTERS[inner].astype(int)).max() <= within


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
def test_lossless_files_give_their_pixels(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(QUARTERS).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_picture(tmp_path / f"a.{suffix}"), QUARTERS)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_files_give_almost_their_pixels(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(QUARTERS).save(tmp_path / f"a.{suffix}", quality=95)
    assert_quarters(read_picture(str(tmp_path / f"a.{suffix}")), within=6)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (2, QUARTERS[:, ::-1]),
        (3, QUARTERS[::-1, ::-1]),
        (6, np.rot90(QUARTERS, 1)),  # to be turned clockwise by 90°
        (8, np.rot90(QUARTERS, -1)),
    ],
)
def test_the_rotation_of_a_camera_is_undone(tmp_path: Path, orientation: int, stored: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), QUARTERS)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(QUARTERS).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert Image.open(tmp_path / "a.jpg").mode == "CMYK"
    assert_quarters(read_picture(tmp_path / "a.jpg"), within=10)


def test_sixteen_bits_are_scaled_down_not_cut_off(tmp_path: Path) -> None:
    levels = np.array([0, 257, 128 * 257, 255 * 257], np.uint16)  # 257 × n is n of 8 bits
    Image.fromarray(np.tile(levels, (5, 1))).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(found, np.tile(np.uint8([0, 1, 128, 255])[None, :, None], (5, 1, 3)))


def test_floating_point_pictures_are_scaled_by_their_peak(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5, 2.0]], np.float32)).save(tmp_path / "a.tiff")
    assert read_picture(tmp_path / "a.tiff")[0, :, 0].tolist() == [0, 63, 255]


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    picture = Image.fromarray(QUARTERS).quantize(8)
    assert picture.mode == "P"
    picture.save(tmp_path / "a.png")
    assert_quarters(read_picture(tmp_path / "a.png"), within=2)


def test_what_is_transparent_lies_on_black(tmp_path: Path) -> None:
    alpha = np.full((40, 64, 1), 255, np.uint8)
    alpha[:20], alpha[20:, :32] = 0, 128
    Image.fromarray(np.concatenate([QUARTERS, alpha], axis=2)).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png").astype(int)
    assert (found[:20] == 0).all()
    assert np.abs(found[20:, :32] - QUARTERS[20:, :32].astype(int) * 128 / 255).max() <= 1
    np.testing.assert_array_equal(found[20:, 32:], QUARTERS[20:, 32:])


def test_a_transparent_palette_lies_on_black(tmp_path: Path) -> None:
    indices = Image.new("P", (3, 1))
    indices.putdata([0, 1, 2])
    indices.putpalette([250, 0, 0, 0, 250, 0, 0, 0, 250])
    indices.save(tmp_path / "a.png", transparency=1)
    assert read_picture(tmp_path / "a.png")[0].tolist() == [[250, 0, 0], [0, 0, 0], [0, 0, 250]]


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_pictures_get_three_equal_channels(tmp_path: Path, mode: str) -> None:
    Image.fromarray(QUARTERS).convert(mode).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png")
    assert (found == found[:, :, :1]).all()
    assert found.std() > 20


def test_an_animation_gives_its_first_picture(tmp_path: Path) -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    frames = [Image.new("RGB", (12, 8), colour) for colour in colours]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    found = read_picture(tmp_path / "a.gif")
    assert found.shape == (8, 12, 3)
    assert np.abs(found.astype(int) - (250, 0, 0)).max() <= 6


def test_arrays_and_pillow_images_are_taken_as_they_are() -> None:
    np.testing.assert_array_equal(read_picture(QUARTERS), QUARTERS)
    np.testing.assert_array_equal(read_picture(Image.fromarray(QUARTERS)), QUARTERS)


def test_a_pillow_image_is_not_changed_by_reading_it() -> None:
    image = Image.fromarray(QUARTERS).convert("P")
    before = image.tobytes()
    read_picture(image)
    assert image.mode == "P"
    assert image.tobytes() == before


def refusal(picture: object) -> str:
    with pytest.raises(InputError) as caught:
        read_picture(picture)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_text_file_called_png_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not a picture\n" * 50)
    assert refusal(tmp_path / "a.png").startswith(f"{tmp_path / 'a.png'} is not a picture")


def test_an_empty_file_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert "is not a picture" in refusal(tmp_path / "a.png")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a b.png") == f"{tmp_path / 'a b.png'}: no such picture file"
    assert refusal(tmp_path) == f"{tmp_path}: no such picture file"


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_file_is_a_damaged_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(path).startswith(f"{path} is a damaged picture")
    with Image.open(path) as lazy:  # opened by the user, and not read yet
        assert "damaged picture" in refusal(lazy)


@pytest.mark.parametrize(("width", "height"), [(40_000, 40_000), (10_000, 12_000)])
def test_a_claim_of_too_many_pixels_is_refused_unread(tmp_path: Path, width: int, height: int) -> None:
    # A PNG of some 100 bytes. Pillow itself only warns of the second one.
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)
    assert "claims more than" in refusal(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 9), np.uint8),
        np.zeros((8, 9, 4), np.uint8),
        np.zeros((3, 8, 9), np.uint8),
        np.zeros((8, 9, 3), np.float32),
        np.zeros((0, 9, 3), np.uint8),
    ],
    ids=["grey", "rgba", "channels first", "floats", "empty"],
)
def test_arrays_of_another_layout_are_refused_with_theirs(array: np.ndarray) -> None:
    said = refusal(array)
    assert str(array.shape) in said
    assert str(array.dtype) in said


def test_a_file_that_must_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> None:  # root, as which tests may run, is never denied anything
        raise PermissionError(13, "Permission denied", str(path))

    Image.fromarray(QUARTERS).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "open", denied)
    assert refusal(tmp_path / "a.png").startswith(f"{tmp_path / 'a.png'} must not be read by this user")
