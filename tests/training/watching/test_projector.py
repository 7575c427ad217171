"""Embedded clips with pictures → TensorBoard's projector on disk, read back file by file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import ProjectorConfig

from avmi.objective.joined import Joined
from avmi.training.watching.evaluation import Embedded
from avmi.training.watching.held_out_clips import THUMBNAIL_PX, HeldOutClip
from avmi.training.watching.log import RunLog
from avmi.training.watching.projector import PointTable, point_tables
from avmi.views.graph import ViewGraph, graph_of

VIEWS: dict[str, Any] = {
    "image": {"kind": "frame"},
    "sound": {"kind": "audio", "window_seconds": 0.5},
    "late": {"kind": "audio", "at_seconds": 1.0, "window_seconds": 0.5},
    "image_mid": {"kind": "feature", "of": "image", "layer": "stage3"},
}
CLIPS = 7


@pytest.fixture
def graph(tiny_config: Any, tmp_path: Path) -> ViewGraph:
    return graph_of(tiny_config(tmp_path, tmp_path / "run", views=VIEWS, pairs="cross_modal"))


def held_out_clips(*, pictures: bool = True) -> tuple[HeldOutClip, ...]:
    """Clip n has a picture of one colour, of its own; the last has none."""
    tiles = [np.full((THUMBNAIL_PX, THUMBNAIL_PX, 3), (30 * n, 200, 9), np.uint8) for n in range(CLIPS - 1)]
    return tuple(
        HeldOutClip(f"v{n}@0", f"dogs\t/{n}.mp4", "a dog\nbarks" if n % 2 else "", n / 4, tile)
        for n, tile in enumerate([*(tiles if pictures else [None] * (CLIPS - 1)), None])
    )


def embedded_clips() -> Embedded:
    views = {name: torch.arange(CLIPS * 3.0).reshape(CLIPS, 1, 3) + place for place, name in enumerate(VIEWS)}
    present = {name: torch.ones(CLIPS, dtype=torch.bool) for name in VIEWS}
    present["late"] = torch.arange(CLIPS) > 4
    videos = torch.arange(CLIPS)
    return Embedded(Joined(views, present, videos, videos / 4), ("",) * CLIPS)


def write(run: Path, step: int, tables: list[PointTable], *, first_step: int = 0) -> None:
    with RunLog(run, first_step=first_step) as log:
        log.write_points(step, tables)


def named(run: Path) -> dict[str, Any]:
    text = (run / "tensorboard" / "projector_config.pbtxt").read_text()
    return {table.tensor_name: table for table in text_format.Parse(text, ProjectorConfig()).embeddings}


def test_points_their_facts_and_their_pictures_are_in_the_same_order(
    graph: ViewGraph, tmp_path: Path
) -> None:
    tables = point_tables(embedded_clips(), held_out_clips(), graph, rows=range(CLIPS))
    write(tmp_path, 20, tables)
    found = named(tmp_path)
    assert list(found) == ["image-sound:00020", "image:00020", "sound:00020", "late:00020"]
    folder = tmp_path / "tensorboard"
    joint = found["image-sound:00020"]
    points = np.loadtxt(folder / joint.tensor_path, delimiter="\t")
    np.testing.assert_allclose(points[:CLIPS], np.arange(CLIPS * 3).reshape(CLIPS, 3))
    np.testing.assert_allclose(points[CLIPS:], np.arange(CLIPS * 3).reshape(CLIPS, 3) + 1)
    lines = (folder / joint.metadata_path).read_text().splitlines()
    assert lines[0].split("\t") == ["label", "view", "video", "second"]
    assert lines[2].split("\t") == ["a dog barks", "image", "dogs /1.mp4", "0.25"]
    assert lines[1 + CLIPS + 4].split("\t") == ["", "sound", "dogs /4.mp4", "1.00"]
    sprite = np.asarray(Image.open(folder / joint.sprite.image_path))
    size = tuple(joint.sprite.single_image_dim)
    assert size == (THUMBNAIL_PX, THUMBNAIL_PX)
    across = sprite.shape[1] // THUMBNAIL_PX
    assert across**2 >= 2 * CLIPS
    for point in range(2 * CLIPS):
        row, column = divmod(point, across)
        middle = sprite[
            row * THUMBNAIL_PX + THUMBNAIL_PX // 2, column * THUMBNAIL_PX + THUMBNAIL_PX // 2
        ].tolist()
        clip = point % CLIPS
        expected = [30 * clip, 200, 9] if clip < CLIPS - 1 else [128, 128, 128]
        np.testing.assert_allclose(middle, expected, atol=1)


def test_only_clips_with_the_view_are_points_of_it_and_only_the_rows_that_were_asked_for(
    graph: ViewGraph,
) -> None:
    tables = {t.name: t for t in point_tables(embedded_clips(), held_out_clips(), graph, rows=(0, 3, 5, 6))}
    assert {name: len(table.vectors) for name, table in tables.items()} == {
        "image-sound": 8,
        "image": 4,
        "sound": 4,
        "late": 2,
    }
    assert [facts[2] for facts in tables["late"].facts] == ["dogs /5.mp4", "dogs /6.mp4"]


def test_without_any_picture_there_is_no_sprite(graph: ViewGraph, tmp_path: Path) -> None:
    tables = point_tables(embedded_clips(), held_out_clips(pictures=False), graph, rows=range(CLIPS))
    write(tmp_path, 3, tables)
    assert not any(table.sprite.image_path for table in named(tmp_path).values())
    assert not list(tmp_path.rglob("sprite.png"))


def test_only_the_last_steps_points_stay_on_disk_also_when_a_run_is_resumed(
    graph: ViewGraph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = point_tables(embedded_clips(), held_out_clips(), graph, rows=range(CLIPS))
    with RunLog(tmp_path, first_step=0) as log:
        log.write_points(100, tables)
        log.write_points(200, tables)
    for first_step in (100, 200):  # it was killed after a checkpoint; at 200 it comes again
        write(tmp_path, 200, tables, first_step=first_step)
        assert [name.split(":")[1] for name in named(tmp_path)] == ["00200"] * 4
    write(tmp_path, 1_000_000, tables, first_step=200)
    folders = [path.name for path in (tmp_path / "tensorboard").iterdir() if path.is_dir()]
    assert folders == ["1000000"]
    assert len(named(tmp_path)) == 4
    assert capsys.readouterr().out == ""  # results are printed there
