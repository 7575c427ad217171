"""The words after `avmi prepare` and `avmi pack` → one call of the workflow each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avmi.cli.arguments import AnySplit, AsJson
from avmi.terminal import show

if TYPE_CHECKING:
    from avmi.engine.share import ShareDone
    from avmi.workflows.pack import Packed
    from avmi.workflows.prepare import Prepared


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="Folder of videos (class = subfolder), or a CSV or Parquet of paths."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="CORPUS", help="Folder to write.")],
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Files probed at a time; otherwise one per core.")
    ] = None,
    time_limit_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="A file that takes longer to probe is rejected.")
    ] = 30.0,
    fractions: Annotated[
        tuple[float, float, float],
        typer.Option(metavar="TRAIN VALID TEST", help="Shares of the splits; they sum to 1."),
    ] = (0.8, 0.1, 0.1),
    needs: Annotated[
        Literal["both", "picture", "sound"], typer.Option(help="What a file must hold to be usable.")
    ] = "both",
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder that a table's paths start from; its own else.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Probe on this machine, or on a Ray cluster.")
    ] = "local",
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Probe the files of job I (from 0) of N; without it, join and finish."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the usable videos of a folder in a manifest.

    Every file is probed; the others are listed with the reason why not. Stopped and started again, it
    goes on where it was.
    """

    def prepared() -> "Prepared | ShareDone":
        if shard is not None:
            from avmi.engine.share import parse_share
            from avmi.workflows.prepare import prepare_share

            return prepare_share(
                source,
                out=out,
                share=parse_share(shard),
                workers=workers,
                time_limit_seconds=time_limit_seconds,
                needs=needs,
                root=root,
                engine=engine,
            )
        from avmi.workflows.prepare import prepare as verb

        return verb(
            source,
            out=out,
            workers=workers,
            time_limit_seconds=time_limit_seconds,
            fractions=fractions,
            needs=needs,
            root=root,
            engine=engine,
        )

    show(prepared, as_json=as_json)


def pack(
    corpus: Annotated[
        Path,
        typer.Argument(metavar="CORPUS", help="Folder that `avmi prepare` wrote; with --check, the shards."),
    ],
    out: Annotated[Path | None, typer.Option(metavar="SHARDS", help="Folder to write.")] = None,
    frames_per_second: Annotated[
        float, typer.Option(metavar="N", help="Pictures kept of a second of video.")
    ] = 4.0,
    size: Annotated[int, typer.Option(metavar="PX", help="Short side of the pictures.")] = 224,
    quality: Annotated[int, typer.Option(metavar="N", help="Quality of the JPEGs, 1 to 100.")] = 68,
    audio: Annotated[
        Literal["pcm", "flac"], typer.Option(help="Sound as it is, or losslessly smaller and slower.")
    ] = "pcm",
    sample_rate: Annotated[int, typer.Option(metavar="HZ", help="Rate of the mono sound.")] = 16000,
    shard_megabytes: Annotated[float, typer.Option(metavar="MB", help="Most that a shard holds.")] = 500.0,
    split: AnySplit = "all",
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Videos packed at a time; otherwise one per core.")
    ] = None,
    time_limit_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="A video that takes longer to pack is rejected.")
    ] = 600.0,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Pack on this machine, or on a Ray cluster.")
    ] = "local",
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Pack the videos of job I (from 0) of N; without it, join and finish."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Pack nothing: compare every checksum of the shards in CORPUS.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Pack a corpus for training: decoded once, read many times.

    Pictures as JPEG and sound go into tars that webdataset reads, too; the folder of them is a corpus like any
    other. Stopped and started again, it goes on where it was.
    """
    from avmi.errors import UsageError
    from avmi.store.packing import Packing

    if check:
        from avmi.workflows.pack import check as compare

        show(lambda: compare(corpus), as_json=as_json)
        return
    packing = Packing(frames_per_second, size, quality, audio, sample_rate, shard_megabytes)

    def packed() -> "Packed | ShareDone":
        if out is None:
            raise UsageError("missing option '--out': avmi pack CORPUS --out SHARDS")
        if shard is not None:
            from avmi.engine.share import parse_share
            from avmi.workflows.pack import pack_share

            return pack_share(
                corpus,
                out=out,
                share=parse_share(shard),
                packing=packing,
                split=split,
                workers=workers,
                time_limit_seconds=time_limit_seconds,
                engine=engine,
            )
        from avmi.workflows.pack import pack as verb

        return verb(
            corpus,
            out=out,
            packing=packing,
            split=split,
            workers=workers,
            time_limit_seconds=time_limit_seconds,
            engine=engine,
        )

    show(packed, as_json=as_json)
