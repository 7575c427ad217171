"""A preset's networks and clips of noise → CPU time of a training step with what a record looks at and without.

    OMP_NUM_THREADS=1 python benchmarks/diagnostics_cost.py

Steps are taken in pairs, one with a record's diagnostics and one without, in an order that alternates; the table has
the medians over the pairs, and what that is for a run that records every `log_every_steps` steps and draws the matrix
at every evaluation. Nothing is decoded: decoding would only make the share smaller.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from avmi.config.load import load_config
from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import Video
from avmi.corpus.plan import ClipSpec
from avmi.data import Batch
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.objective import Loss, Objective
from avmi.report.mi_matrix import matrix_pixels
from avmi.training.watching.collapse import CollapseWatch
from avmi.training.watching.embedding_scalars import scalars_of_batch
from avmi.training.watching.evaluation import HeldOut, embed_held_out, evaluate
from avmi.training.watching.loss_scalars import scalars_of
from avmi.training.watching.saturated import SaturatedTerms
from avmi.training.watching.view_matrix import view_matrix
from avmi.views.graph import ViewGraph, graph_of
from avmi.views.shapes import view_shapes

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "pretrain"


def main() -> None:
    """Measure and print a row for each preset and batch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument(
        "--case", action="append", metavar="PRESET:CLIPS", help="such as quickstart:64; several"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # one batch of noise, learned by heart, is soon saturated
    print(
        "| preset | clips | step, s | a record more, ms | of the step | of the run | an evaluation more, s | of the run |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for case in arguments.case or ("quickstart:64", "quickstart:256", "contrastive_multiview_coding:64"):
        preset, _, clips = case.partition(":")
        print(_row(preset, int(clips), arguments.pairs), flush=True)


def _row(preset: str, clips: int, pairs: int) -> str:
    config = load_config(CONFIGS / f"{preset}.yaml", (), schema=PretrainConfig)
    torch.manual_seed(0)
    graph = graph_of(config)
    encoders = Encoders(config.views, config.encoders, log_mel=LogMelStatistics(0.0, 1.0))
    objective = Objective(graph, temperature=config.temperature)
    optimizer = torch.optim.AdamW([*encoders.parameters(), *objective.parameters()], lr=1e-4)
    batch = _noise(config, graph, clips)

    def step() -> tuple[Loss, dict[str, torch.Tensor]]:
        embeddings = encoders(batch.views)
        loss: Loss = objective(embeddings, rows=batch.rows, videos=batch.videos, seconds=batch.seconds)
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss, {name: embedding.detach() for name, embedding in embeddings.items()}

    saturated, collapse = SaturatedTerms(), CollapseWatch()

    def look(loss: Loss, embeddings: dict[str, torch.Tensor]) -> None:
        scalars = scalars_of(loss) | scalars_of_batch(embeddings, batch, graph)
        saturated.check(1, scalars)
        collapse.check(1, scalars, kind="train")

    look(*step())  # the first one sets up what the others find
    bare, more = [], []
    for pair in range(pairs):
        times = {}
        for with_record in (bool(pair % 2), not pair % 2):
            start = time.process_time()
            made = step()
            if with_record:
                look(*made)
            times[with_record] = time.process_time() - start
        bare.append(times[False])
        more.append(times[True] - times[False])
    made = step()
    alone = [_seconds(lambda: look(*made)) for _ in range(pairs)]
    seconds, extra = statistics.median(bare), statistics.median(alone)
    evaluation = _evaluation_seconds(config, graph, encoders, objective)
    every = config.logging
    return (
        f"| {preset} | {clips} | {seconds:.3f} | {1e3 * extra:.1f} (in pairs {1e3 * statistics.median(more):.1f}) | "
        f"{extra / seconds:.2%} | {extra / seconds / every.log_every_steps:.3%} | {evaluation:.2f} | "
        f"{evaluation / (seconds * every.evaluate_every_steps):.2%} |"
    )


def _evaluation_seconds(
    config: PretrainConfig, graph: ViewGraph, encoders: Encoders, objective: Objective
) -> float:
    """Time what an evaluation does beyond bounds and retrieval: the matrix and its picture."""
    held_out = HeldOut((_noise(config, graph, min(256, config.logging.evaluate_clips)),))
    embedded = embed_held_out(encoders, held_out, graph=graph, device=torch.device("cpu"))
    valid = evaluate(embedded, objective)
    draw = lambda: matrix_pixels(view_matrix(embedded, valid, graph))  # noqa: E731
    draw()  # the first one imports and reads fonts
    return statistics.median(_seconds(draw) for _ in range(5))


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _noise(config: PretrainConfig, graph: ViewGraph, clips: int) -> Batch:
    shapes = view_shapes(graph.signals, image=config.image, log_mel=config.log_mel)
    views = {
        name: torch.randn(clips, *shape)
        if graph.modality(name) == "audio"
        else torch.randint(0, 256, (clips, *shape), dtype=torch.uint8)
        for name, shape in shapes.items()
    }
    spec = ClipSpec(_video(), 0.0, tuple(views), (0.0,), None)
    return Batch(
        views=views,
        rows={name: torch.arange(clips) for name in views},
        videos=torch.arange(clips) // config.data.clips_per_video,
        seconds=torch.arange(clips) * 1.0,
        specs=(spec,) * clips,
    )


def _video() -> Video:
    numbers = {"int": 0, "float": 0.0, "str": "", "bool": False}
    values = {
        name: numbers.get(str(getattr(field.type, "__name__", field.type)), "train")
        for name, field in Video.__dataclass_fields__.items()
    }
    return Video(**values)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
