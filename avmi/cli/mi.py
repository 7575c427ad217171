"""The words after `avmi mi` → one measurement of mutual information each."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from avmi.cli.arguments import AsJson, Checkpoint, Corpus, TestSplit, Workers
from avmi.terminal import show

Report = Annotated[Path | None, typer.Option(metavar="HTML", help="Page to write.")]

mi_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@mi_app.callback(epilog="Example: avmi mi estimate X.npy Y.npy --plot mi.png")
def mi() -> None:
    """Measure mutual information."""


@mi_app.command("estimate", epilog="Example: avmi mi estimate X.npy Y.npy --plot mi.png")
def mi_estimate(
    x: Annotated[
        Path, typer.Argument(metavar="X", help="Samples, one a row: .npy, .csv or .parquet of numbers.")
    ],
    y: Annotated[Path, typer.Argument(metavar="Y", help="Samples of the other side, row for row.")],
    labels: Annotated[
        bool, typer.Option("--labels", help="Y holds class labels: whole numbers or text, one a row.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the splits and of training.")] = 0,
    plot: Annotated[Path | None, typer.Option(metavar="PNG", help="Picture of the bounds to write.")] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate the mutual information of two samples.

    It trains on half of the rows, selects on a quarter and reports on the last quarter.
    """
    from avmi.workflows.mi_estimate import mi_estimate as verb

    show(lambda: verb(x, y, labels=labels, seed=seed, plot=plot), as_json=as_json)


@mi_app.command("benchmark", epilog="Example: avmi mi benchmark --only tasks --seeds 1")
def mi_benchmark(
    out: Annotated[
        Path, typer.Option(metavar="PAGE", help="Markdown page to write; its plot goes beside it.")
    ] = Path("docs/mi_benchmark.md"),
    only: Annotated[
        Literal["ramp", "tasks"] | None, typer.Option(help="One part only; the page is then not written.")
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Repeats of every task.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Estimate where the truth is known.

    The ramp of Poole et al. 2019 and tasks of Czyż et al. 2023, with a frozen protocol.
    """
    from avmi.workflows.mi_benchmark import mi_benchmark as verb

    show(lambda: verb(out, only=only, seeds=seeds), as_json=as_json)


@mi_app.command(
    "matrix", epilog="Example: avmi mi matrix checkpoints/quickstart corpora/mine --report matrix.html"
)
def mi_matrix(
    checkpoint: Checkpoint,
    corpus: Corpus,
    split: TestSplit = "test",
    report: Report = None,
    plot: Annotated[Path | None, typer.Option(metavar="PNG", help="Picture to write.")] = None,
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Bound what every two views share.

    Also those that were not trained as a pair: it helps to choose views.
    """
    from avmi.workflows.mi_matrix import mi_matrix as verb

    show(
        lambda: verb(checkpoint, corpus, split=split, report=report, plot=plot, workers=workers),
        as_json=as_json,
    )


@mi_app.command("lag", epilog="Example: avmi mi lag checkpoints/synchrony corpora/mine --from -2 --to 2")
def mi_lag(
    checkpoint: Checkpoint,
    corpus: Corpus,
    split: TestSplit = "test",
    from_seconds: Annotated[
        float, typer.Option("--from", metavar="SECONDS", max=0, help="Least lag of the sound.")
    ] = -5.0,
    to_seconds: Annotated[
        float, typer.Option("--to", metavar="SECONDS", min=0, help="Most lag of the sound.")
    ] = 5.0,
    step_seconds: Annotated[
        float,
        typer.Option("--step", metavar="SECONDS", min=0.01, help="Distance of two lags, and of moments."),
    ] = 0.5,
    moments: Annotated[
        Literal["common", "each"],
        typer.Option(help="Moments whose sound is there at every lag, or all that each lag has."),
    ] = "common",
    views: Annotated[
        tuple[str, str] | None, typer.Option(metavar="PICTURE SOUND", help="Views to embed as.")
    ] = None,
    report: Report = None,
    plot: Annotated[Path | None, typer.Option(metavar="PNG", help="Picture to write.")] = None,
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Bound what picture and sound share, lag by lag.

    For the corpus and for every file; files whose sound comes late or early are named.
    """
    from avmi.workflows.mi_lag import mi_lag as verb

    show(
        lambda: verb(
            checkpoint,
            corpus,
            split=split,
            from_seconds=from_seconds,
            to_seconds=to_seconds,
            step_seconds=step_seconds,
            moments=moments,
            views=views,
            report=report,
            plot=plot,
            workers=workers,
        ),
        as_json=as_json,
    )
