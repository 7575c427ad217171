"""Words that several verbs take on the command line, with their help."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Corpus = Annotated[
    Path,
    typer.Argument(
        metavar="CORPUS", help="Folder that `avmi prepare` or `avmi pack` wrote, or address of such shards."
    ),
]
Checkpoint = Annotated[
    Path, typer.Argument(metavar="CHECKPOINT", help="Checkpoint, or run folder (its best checkpoint).")
]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings to change, such as optimizer.steps=500."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run if it has begun.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Workers = Annotated[int, typer.Option(metavar="N", min=0, help="Decoding processes; 0 decodes in this one.")]
AnySplit = Annotated[
    Literal["train", "valid", "test", "all"], typer.Option(help="Which videos of the corpus.")
]
TestSplit = Annotated[Literal["train", "valid", "test"], typer.Option(help="Which videos to test on.")]
Engine = Annotated[Literal["local", "ray"], typer.Option(help="Work on this machine, or on a Ray cluster.")]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Do the share of job I (from 0) of N, beside the others; without it, join and finish.",
    ),
]
FilesAtATime = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Files worked on at a time; otherwise one per core.")
]
TimeLimit = Annotated[float, typer.Option(metavar="SECONDS", help="A file that takes longer is rejected.")]
