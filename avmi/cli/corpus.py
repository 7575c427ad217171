"""The words after `avmi prepare` and `avmi pack` → one call of the workflow each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avmi.cli.arguments import AnySplit, AsJson, Engine, FilesAtATime, Shard, TimeLimit
from avmi.terminal import show

if TYPE_CHECKING:
    from avmi.engine.share import ShareDone
    from avmi.workflows.prepare import Prepared


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="Folder of videos (class = subfolder), or a CSV or Parquet of paths."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="CORPUS", help="Folder to write.")],
    workers: FilesAtATime = None,
    time_limit_seconds: TimeLimit = 30.0,
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
    engine: Engine = "local",
    shard: Shard = None,
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
    quality: Annotated[int, typer.Option(metavar="N", help="Quality of the JPEGs, 1 to 100.")] = 69,
    audio: Annotated[
        Literal["pcm", "flac"], typer.Option(help="Sound as it is, or losslessly smaller and slower.")
    ] = "pcm",
    sample_rate: Annotated[int, typer.Option(metavar="HZ", help="Rate of the mono sound.")] = 16000,
    shard_megabytes: Annotated[float, typer.Option(metavar="MB", help="Most that a shard holds.")] = 500.0,
    split: AnySplit = "all",
    workers: FilesAtATime = None,
    time_limit_seconds: TimeLimit = 600.0,
    engine: Engine = "local",
    shard: Shard = None,
    check: Annotated[
        bool, typer.Option("--check", help="Pack nothing: compare every checksum of the shards in CORPUS.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Pack a corpus for training: decoded once, read many times.

    Pictures as JPEG and sound go into tars that webdataset reads, too; the folder of them is a corpus like any
    other. Stopped and started again, it goes on where it was.
    """
    if check:
        from avmi.workflows.pack import check as compare

        show(lambda: compare(corpus), as_json=as_json)
        return
    from avmi.engine.share import parse_share
    from avmi.errors import UsageError
    from avmi.store.packing import Packing
    from avmi.workflows.pack import PackRequest, pack_share
    from avmi.workflows.pack import pack as pack_all

    if out is None:
        raise UsageError("missing option '--out': avmi pack CORPUS --out SHARDS")
    packing = Packing(frames_per_second, size, quality, audio, sample_rate, shard_megabytes)
    request = PackRequest(corpus, out, packing, split, workers, time_limit_seconds, engine)
    if shard is None:
        show(lambda: pack_all(request), as_json=as_json)
        return
    share = parse_share(shard)
    show(lambda: pack_share(request, share=share), as_json=as_json)
