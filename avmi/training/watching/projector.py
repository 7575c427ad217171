"""Embedded held-out clips and their pictures → tables of points, and TensorBoard's embedding projector of them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from google.protobuf import text_format
from jaxtyping import Float
from tensorboard.plugins.projector import ProjectorConfig, visualize_embeddings
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from avmi.training.watching.evaluation import Embedded
from avmi.training.watching.held_out_clips import THUMBNAIL_PX, HeldOutClip
from avmi.views.graph import ViewGraph

HEADER = ("label", "view", "video", "second")
CONFIG_FILE = "projector_config.pbtxt"  # where TensorBoard looks for it
_GREY = 128  # of a clip without the picture
_STEP_DIGITS = 5  # of the folders that `add_embedding` names by the step


@dataclass(frozen=True)
class PointTable:
    """Points of one space: their vectors, what is known of them, and pictures where there are any."""

    name: str
    vectors: Float[Tensor, "points dim"]
    facts: tuple[tuple[str, ...], ...]  # a row of `HEADER` for each point
    pictures: Float[Tensor, "points 3 size size"] | None


def point_tables(
    embedded: Embedded, clips: Sequence[HeldOutClip], graph: ViewGraph, *, rows: Sequence[int]
) -> list[PointTable]:
    """Make a table for every signal view that is in a pair, and a joint one of the two that retrieval compares.

    `rows` are the clips to show. Views with places are left out: each clip is one point.
    """
    names = [name for name in graph.paired_views if name in graph.signals]
    spaces: dict[str, tuple[str, ...]] = {name: (name,) for name in names}
    if graph.retrieval_views is not None:
        # A plus would not do: TensorBoard's page asks for tables without escaping their names.
        spaces = {"-".join(graph.retrieval_views): graph.retrieval_views, **spaces}
    present = embedded.joined.present
    tables = []
    for name, views in spaces.items():
        points = [(view, row) for view in views for row in rows if present[view][row]]
        if len(points) > 1:
            tables.append(_table(name, points, embedded, clips))
    return tables


def write_tables(board: SummaryWriter, step: int, tables: Sequence[PointTable]) -> None:
    """Show tables in TensorBoard's projector in place of those of earlier steps.

    `add_embedding` writes a folder for every step and keeps them all; here the last step's is the only one, so that a
    run's disk does not fill. A resumed run that comes to the same step again writes it anew.
    """
    folder = Path(board.log_dir)
    own = f"{step:0{_STEP_DIGITS}d}"
    shutil.rmtree(folder / own, ignore_errors=True)
    for table in tables:
        board.add_embedding(
            table.vectors,
            metadata=[list(facts) for facts in table.facts],
            label_img=table.pictures,
            global_step=step,
            tag=table.name,
            metadata_header=list(HEADER),
        )
    _name_only(folder, own)
    for old in folder.iterdir():
        if old.is_dir() and old.name.isdecimal() and old.name != own:
            shutil.rmtree(old, ignore_errors=True)


def _name_only(folder: Path, step_folder: str) -> None:
    """Drop the tables of earlier steps from the file that names them."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        return
    written = text_format.Parse(path.read_text(encoding="utf-8"), ProjectorConfig())
    kept = [table for table in written.embeddings if table.tensor_path.startswith(f"{step_folder}/")]
    visualize_embeddings(str(folder), ProjectorConfig(embeddings=kept))


def _table(
    name: str, points: Sequence[tuple[str, int]], embedded: Embedded, clips: Sequence[HeldOutClip]
) -> PointTable:
    vectors = [embedded.joined.embeddings[view][row].flatten() for view, row in points]
    facts = [
        (_cell(clips[row].label), view, _cell(clips[row].video), f"{clips[row].anchor_seconds:.2f}")
        for view, row in points
    ]
    return PointTable(name, torch.stack(vectors), tuple(facts), _pictures([clips[row] for _, row in points]))


def _pictures(clips: Sequence[HeldOutClip]) -> Float[Tensor, "points 3 size size"] | None:
    if all(clip.thumbnail is None for clip in clips):
        return None
    empty = np.full((THUMBNAIL_PX, THUMBNAIL_PX, 3), _GREY, np.uint8)
    tiles = np.stack([empty if clip.thumbnail is None else clip.thumbnail for clip in clips])
    return torch.from_numpy(tiles).permute(0, 3, 1, 2) / 255


def _cell(text: str) -> str:
    """Write a name for a table of tabs and lines; one that is no UTF-8 is escaped."""
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode("utf-8")
