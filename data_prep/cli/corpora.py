"""One verb for each public corpus: annotations and a folder of files → a prepared corpus, and a table of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from avmi.terminal import Result, show
from data_prep.listing import Listing
from data_prep.split_files import split_files

Videos = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the files, at any depth.")]
Out = Annotated[Path, typer.Option(metavar="CORPUS", help="Corpus folder to write.")]
SplitFiles = Annotated[
    list[str],
    typer.Option(
        "--annotations", metavar="[SPLIT=]FILE", help="Annotations as published; may be given several times."
    ),
]
Folder = Annotated[
    Path, typer.Option("--annotations", metavar="DIR", help="Folder of the annotations as published.")
]
Needs = Annotated[
    Literal["both", "picture", "sound"], typer.Option(help="What a file must hold to be usable.")
]
ValidFraction = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Move this share of train into valid, whole recordings; none is moved otherwise.",
    ),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Files probed at a time; otherwise one per core.")
]
TimeLimit = Annotated[
    float, typer.Option(metavar="SECONDS", help="A file that takes longer to probe is rejected.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


def vggsound(
    annotations: SplitFiles,
    videos: Videos,
    out: Out,
    valid_fraction: ValidFraction = None,
    needs: Needs = "both",
    workers: Workers = None,
    time_limit_seconds: TimeLimit = 30.0,
    as_json: AsJson = False,
) -> None:
    """VGGSound: vggsound.csv; official train and test."""
    from data_prep.vggsound import read_vggsound

    _prepare(
        lambda: read_vggsound(split_files(annotations)),
        videos=videos,
        out=out,
        needs=needs,
        valid_fraction=valid_fraction,
        workers=workers,
        time_limit_seconds=time_limit_seconds,
        as_json=as_json,
    )


def audioset(
    annotations: SplitFiles,
    videos: Videos,
    out: Out,
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="class_labels_indices.csv; otherwise beside the annotations."),
    ] = None,
    valid_fraction: ValidFraction = None,
    needs: Needs = "both",
    workers: Workers = None,
    time_limit_seconds: TimeLimit = 30.0,
    as_json: AsJson = False,
) -> None:
    """AudioSet: *_segments.csv, several classes a segment; --needs sound for files of sound alone."""
    from data_prep.audioset import read_audioset

    _prepare(
        lambda: read_audioset(split_files(annotations), classes=classes),
        videos=videos,
        out=out,
        needs=needs,
        valid_fraction=valid_fraction,
        workers=workers,
        time_limit_seconds=time_limit_seconds,
        as_json=as_json,
    )


def ave(
    annotations: Folder,
    videos: Videos,
    out: Out,
    needs: Needs = "both",
    workers: Workers = None,
    time_limit_seconds: TimeLimit = 30.0,
    as_json: AsJson = False,
) -> None:
    """AVE: trainSet.txt, valSet.txt, testSet.txt; each event is a row with its seconds."""
    from data_prep.ave import read_ave

    _prepare(
        lambda: read_ave(annotations),
        videos=videos,
        out=out,
        needs=needs,
        valid_fraction=None,
        workers=workers,
        time_limit_seconds=time_limit_seconds,
        as_json=as_json,
    )


def kinetics(
    annotations: SplitFiles,
    videos: Videos,
    out: Out,
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep these classes, one a line, as Kinetics-Sounds does."),
    ] = None,
    valid_fraction: ValidFraction = None,
    needs: Needs = "both",
    workers: Workers = None,
    time_limit_seconds: TimeLimit = 30.0,
    as_json: AsJson = False,
) -> None:
    """Kinetics 400, 600, 700: train, validate and test csv."""
    from data_prep.kinetics import read_kinetics

    _prepare(
        lambda: read_kinetics(split_files(annotations), classes=classes),
        videos=videos,
        out=out,
        needs=needs,
        valid_fraction=valid_fraction,
        workers=workers,
        time_limit_seconds=time_limit_seconds,
        as_json=as_json,
    )


def ucf101(
    annotations: Folder,
    videos: Videos,
    out: Out,
    fold: Annotated[int, typer.Option(help="Official train/test split: 1, 2 or 3.")] = 1,
    valid_fraction: ValidFraction = None,
    needs: Needs = "picture",
    workers: Workers = None,
    time_limit_seconds: TimeLimit = 30.0,
    as_json: AsJson = False,
) -> None:
    """UCF101: classInd.txt, trainlist0N.txt, testlist0N.txt; files without sound are taken."""
    from data_prep.ucf101 import read_ucf101

    _prepare(
        lambda: read_ucf101(annotations, fold=fold),
        videos=videos,
        out=out,
        needs=needs,
        valid_fraction=valid_fraction,
        workers=workers,
        time_limit_seconds=time_limit_seconds,
        as_json=as_json,
    )


def hmdb51(
    annotations: Folder,
    videos: Videos,
    out: Out,
    fold: Annotated[int, typer.Option(help="Official train/test split: 1, 2 or 3.")] = 1,
    valid_fraction: ValidFraction = None,
    needs: Needs = "picture",
    workers: Workers = None,
    time_limit_seconds: TimeLimit = 30.0,
    as_json: AsJson = False,
) -> None:
    """HMDB51: <class>_test_splitN.txt; files without sound are taken."""
    from data_prep.hmdb51 import read_hmdb51

    _prepare(
        lambda: read_hmdb51(annotations, fold=fold),
        videos=videos,
        out=out,
        needs=needs,
        valid_fraction=valid_fraction,
        workers=workers,
        time_limit_seconds=time_limit_seconds,
        as_json=as_json,
    )


def esc50(
    annotations: Annotated[Path, typer.Option(metavar="FILE", help="meta/esc50.csv as published.")],
    videos: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the sounds, at any depth.")],
    out: Out,
    fold: Annotated[int, typer.Option(help="Fold to test on, 1 to 5; the others train.")] = 1,
    valid_fraction: ValidFraction = None,
    workers: Workers = None,
    time_limit_seconds: TimeLimit = 30.0,
    as_json: AsJson = False,
) -> None:
    """ESC-50: sounds without pictures."""
    from data_prep.esc50 import read_esc50

    _prepare(
        lambda: read_esc50(annotations, fold=fold),
        videos=videos,
        out=out,
        needs="sound",
        valid_fraction=valid_fraction,
        workers=workers,
        time_limit_seconds=time_limit_seconds,
        as_json=as_json,
    )


def folder(
    videos: Videos,
    out: Out,
    needs: Needs = "both",
    workers: Workers = None,
    time_limit_seconds: TimeLimit = 30.0,
    as_json: AsJson = False,
) -> None:
    """Your own folder: class = subfolder; or train, valid, test = subfolders, class = the one below."""

    def prepared() -> Result:
        from avmi.workflows.prepare import prepare
        from data_prep.corpus import Settings, prepare_corpus
        from data_prep.folder import listing_of_folder
        from data_prep.matching import list_files

        listing = listing_of_folder(list_files(videos, skip=out))
        if listing is None:
            return prepare(
                videos, out=out, needs=needs, workers=workers, time_limit_seconds=time_limit_seconds
            )
        settings = Settings(videos, out, needs, workers=workers, time_limit_seconds=time_limit_seconds)
        return prepare_corpus(listing, settings)

    show(prepared, as_json=as_json)


def csv(
    annotations: SplitFiles,
    videos: Videos,
    out: Out,
    valid_fraction: ValidFraction = None,
    needs: Needs = "both",
    workers: Workers = None,
    time_limit_seconds: TimeLimit = 30.0,
    as_json: AsJson = False,
) -> None:
    """Your own list: path[,start_seconds,end_seconds,label,split], or file,class[,split] without a header."""
    from data_prep.table import read_table

    _prepare(
        lambda: read_table(split_files(annotations)),
        videos=videos,
        out=out,
        needs=needs,
        valid_fraction=valid_fraction,
        workers=workers,
        time_limit_seconds=time_limit_seconds,
        as_json=as_json,
    )


def _prepare(
    read: Callable[[], Listing],
    *,
    videos: Path,
    out: Path,
    needs: Literal["both", "picture", "sound"],
    valid_fraction: float | None,
    workers: int | None,
    time_limit_seconds: float,
    as_json: bool,
) -> None:
    from data_prep.corpus import Settings, prepare_corpus

    settings = Settings(
        videos=videos,
        out=out,
        needs=needs,
        valid_fraction=valid_fraction,
        workers=workers,
        time_limit_seconds=time_limit_seconds,
    )
    show(lambda: prepare_corpus(read(), settings), as_json=as_json)
