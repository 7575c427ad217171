"""A run and its corpus → CPU time and bytes of what TensorBoard shows of one evaluation.

`OMP_NUM_THREADS=1 python -m benchmarks.training.watching RUN CORPUS [--turns 5]`
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from avmi.checkpoint import find_checkpoint, load_checkpoint
from avmi.config.parts import Temperature
from avmi.corpus.manifest import read_manifest
from avmi.data import Batch
from avmi.models.encoders import Encoders
from avmi.objective import Objective
from avmi.report.examples import ExampleSheet
from avmi.report.mi_matrix import matrix_pixels
from avmi.report.score_plots import scores_pixels
from avmi.training.feed import Feed
from avmi.training.watching.evaluation import HeldOut, embed_held_out, evaluate
from avmi.training.watching.held_out_clips import gather_clips
from avmi.training.watching.log import RunLog
from avmi.training.watching.watch import Watch
from avmi.views.graph import ViewGraph, graph_of

CPU = torch.device("cpu")
MOST_CLIPS = 256  # of an evaluation, as by default


def main() -> None:
    """Print a line for each part of an evaluation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    checkpoint = load_checkpoint(find_checkpoint(given.run))
    config, manifest = checkpoint.config, read_manifest(given.corpus)
    graph = graph_of(config)
    # As many clips of each video as there is room for, so that a small corpus fills an evaluation.
    data = config.data.model_copy(
        update={"evaluation_clips_per_video": 32, "evaluation_hop_seconds": 0.5, "workers": 0}
    )
    feed = Feed(manifest, graph.signals, config.image, config.log_mel, data)
    required = graph.retrieval_views or tuple(graph.signals)
    fixed = feed.fixed("valid", required=required, most=MOST_CLIPS)
    held_out = HeldOut.decode(feed.fixed_batches(fixed))
    begin = time.process_time()
    clips = gather_clips(held_out, graph, thumbnails=config.logging.projector_clips)
    print(f"held-out clips {len(held_out)}; their small pictures, once: {time.process_time() - begin:.2f} s")
    sheet = ExampleSheet(
        manifest.split("valid"), log_mel=config.log_mel, time_limit_seconds=data.time_limit_seconds
    )
    with tempfile.TemporaryDirectory() as folder:
        for shown in ("matrix alone", "projector", "examples"):
            settings = config.logging.model_copy(
                update={
                    "projector_clips": config.logging.projector_clips * (shown == "projector"),
                    "examples": config.logging.examples * (shown == "examples"),
                }
            )
            watch = Watch(graph, settings, clips, matrix_pixels, scores_pixels, sheet)
            run = Path(folder) / shown
            run.mkdir()
            _measure(run, watch, checkpoint.encoders, graph, held_out, turns=given.turns, name=shown)


def _measure(
    run: Path,
    watch: Watch,
    encoders: Encoders,
    graph: ViewGraph,
    held_out: HeldOut,
    *,
    turns: int,
    name: str,
) -> None:
    objective = Objective(graph, temperature=Temperature())  # the cost does not depend on it
    embedded = embed_held_out(encoders, held_out, graph=graph, device=CPU)
    valid = evaluate(embedded, objective)
    batch: Batch = held_out.batches[0]
    with torch.no_grad():
        embeddings = encoders(batch.views)
    with RunLog(run, first_step=0) as record:
        steps = iter(range(1, 10_000))
        parts: dict[str, Callable[[], object]] = {
            f"pictures ({name})": lambda: watch.write_pictures(record, next(steps), embedded, valid)
        }
        if name == "matrix alone":
            parts["embedding"] = lambda: embed_held_out(encoders, held_out, graph=graph, device=CPU)
            parts["bounds and retrieval"] = lambda: evaluate(embedded, objective)
            parts["histograms of scores"] = lambda: watch.write_scores(
                record,
                next(steps),
                objective=objective,
                held_out=embedded,
                batch=batch,
                embeddings=embeddings,
            )
        for what, part in parts.items():
            seconds = [_seconds(part) for _ in range(turns + 1)]
            print(f"{what}: first {seconds[0]:.2f} s, then {statistics.median(seconds[1:]):.3f} s")
    size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    print(f"  {size / 1e6:.2f} MB of {turns + 1} evaluations")


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


if __name__ == "__main__":
    main()
