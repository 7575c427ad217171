"""One verb for each public corpus: annotations and a folder of files → a prepared corpus, and a table of it.

Each function says what is particular to its corpus and gives the listing; `corpus_verb` adds the rest.
"""

from pathlib import Path
from typing import Annotated

import typer

from avmi.terminal import Result, show
from data_prep.cli.verb import AsJson, NeedsOption, Out, TimeLimit, Videos, Workers, corpus_verb
from data_prep.listing import Listing
from data_prep.split_files import split_files

SplitFiles = Annotated[
    list[str],
    typer.Option(
        "--annotations", metavar="[SPLIT=]FILE", help="Annotations as published; may be given several times."
    ),
]
Folder = Annotated[
    Path, typer.Option("--annotations", metavar="DIR", help="Folder of the annotations as published.")
]
OfficialSplit = Annotated[int, typer.Option("--fold", help="Official train/test split: 1, 2 or 3.")]


@corpus_verb()
def vggsound(annotations: SplitFiles) -> Listing:
    """VGGSound: vggsound.csv; official train and test."""
    from data_prep.vggsound import read_vggsound

    return read_vggsound(split_files(annotations))


@corpus_verb()
def audioset(
    annotations: SplitFiles,
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="class_labels_indices.csv; otherwise beside the annotations."),
    ] = None,
) -> Listing:
    """AudioSet: *_segments.csv, several classes a segment; --needs sound for files of sound alone."""
    from data_prep.audioset import read_audioset

    return read_audioset(split_files(annotations), classes=classes)


@corpus_verb(without=["valid_fraction"])
def ave(annotations: Folder) -> Listing:
    """AVE: trainSet.txt, valSet.txt, testSet.txt; each event is a row with its seconds."""
    from data_prep.ave import read_ave

    return read_ave(annotations)


@corpus_verb()
def kinetics(
    annotations: SplitFiles,
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep these classes, one a line, as Kinetics-Sounds does."),
    ] = None,
) -> Listing:
    """Kinetics 400, 600, 700: train, validate and test csv."""
    from data_prep.kinetics import read_kinetics

    return read_kinetics(split_files(annotations), classes=classes)


@corpus_verb(needs="picture")
def ucf101(annotations: Folder, fold: OfficialSplit = 1) -> Listing:
    """UCF101: classInd.txt, trainlist0N.txt, testlist0N.txt; files without sound are taken."""
    from data_prep.ucf101 import read_ucf101

    return read_ucf101(annotations, fold=fold)


@corpus_verb(needs="picture")
def hmdb51(annotations: Folder, fold: OfficialSplit = 1) -> Listing:
    """HMDB51: <class>_test_splitN.txt; files without sound are taken."""
    from data_prep.hmdb51 import read_hmdb51

    return read_hmdb51(annotations, fold=fold)


@corpus_verb(needs="sound", without=["needs"])
def esc50(
    annotations: Annotated[Path, typer.Option(metavar="FILE", help="meta/esc50.csv as published.")],
    fold: Annotated[int, typer.Option(help="Fold to test on, 1 to 5; the others train.")] = 1,
) -> Listing:
    """ESC-50: sounds without pictures."""
    from data_prep.esc50 import read_esc50

    return read_esc50(annotations, fold=fold)


@corpus_verb()
def csv(annotations: SplitFiles) -> Listing:
    """Your own list: path[,start_seconds,end_seconds,label,split], or file,class[,split] without a header."""
    from data_prep.table import read_table

    return read_table(split_files(annotations))


def folder(
    videos: Videos,
    out: Out,
    needs: NeedsOption = "both",
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
