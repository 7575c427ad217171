"""Scalars of a run → TensorBoard, metrics.jsonl and trackers; pictures, sounds, histograms → TensorBoard; main process."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from accelerate import Accelerator
from jaxtyping import UInt8
from torch.utils.tensorboard.writer import SummaryWriter

from avmi.config.schema import FinetuneConfig, PretrainConfig
from avmi.decode.clip import Waveform
from avmi.training.watching.projector import PointTable, write_tables
from avmi.training.watching.score_histograms import BINS, Histogram
from avmi.training.watching.trackers import Trackers


class RunLog:
    """Writes one record a time to TensorBoard, to trackers and as a line of JSON; a context manager.

    A resumed run keeps what was logged up to the step it goes on from and drops what came after. Leaving the `with`
    block, by an error, too, finishes the trackers.
    """

    def __init__(self, run: Path, *, first_step: int, trackers: Trackers | None = None) -> None:
        self._trackers = trackers or Trackers()
        self.path = run / "metrics.jsonl"
        if self.path.is_file():
            kept = [r for r in read_metrics(self.path) if r["step"] <= first_step]
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
            temporary.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=first_step + 1)

    @classmethod
    def begin(
        cls, accelerator: Accelerator, config: PretrainConfig | FinetuneConfig, *, first_step: int
    ) -> "RunLog":
        """Begin the log of a run, and the run in the trackers that the accelerator was made with."""
        return cls(config.run, first_step=first_step, trackers=Trackers.start(accelerator, config))

    def write(self, step: int, scalars: Mapping[str, float], *, kind: str) -> None:
        """Record scalars; `kind` says of what: train or valid."""
        self._file.write(json.dumps({"step": step, "kind": kind, **scalars}) + "\n")
        self._file.flush()
        named = {f"{kind}/{name}": value for name, value in scalars.items()}
        for name, value in named.items():
            self._board.add_scalar(name, value, step)
        self._trackers.write(step, named)

    def write_picture(self, step: int, name: str, pixels: UInt8[np.ndarray, "height width 3"]) -> None:
        """Show a picture in TensorBoard."""
        self._board.add_image(name, pixels, step, dataformats="HWC")

    def write_histogram(self, step: int, name: str, histogram: Histogram) -> None:
        """Show a histogram of cosines in TensorBoard; empty ones are passed over."""
        if not histogram.number:
            return
        self._board.add_histogram_raw(
            name,
            min=histogram.least,
            max=histogram.most,
            num=histogram.number,
            sum=histogram.total,
            sum_squares=histogram.total_squares,
            bucket_limits=np.linspace(-1, 1, BINS + 1)[1:].tolist(),
            bucket_counts=histogram.counts.tolist(),
            global_step=step,
        )

    def write_sound(self, step: int, name: str, sound: Waveform) -> None:
        """Let a sound be heard in TensorBoard; resampling overshoots 1 a little, which is cut off."""
        samples = sound.samples.clip(-1, 1)
        self._board.add_audio(name, samples, step, sample_rate=sound.sample_rate_hz)

    def write_points(self, step: int, tables: Sequence[PointTable]) -> None:
        """Show tables of points in TensorBoard's projector in place of those before."""
        write_tables(self._board, step, tables)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        self._board.close()
        self._trackers.finish()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl; a torn last line, left by a kill, is dropped."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records
