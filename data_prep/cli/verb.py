"""A function from a corpus's own options to its listing → a verb that has the options of all corpora, too."""

from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from avmi.terminal import show
from avmi.types import Needs
from data_prep.listing import Listing

Videos = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the files, at any depth.")]
Out = Annotated[Path, typer.Option(metavar="CORPUS", help="Corpus folder to write.")]
NeedsOption = Annotated[
    Literal["both", "picture", "sound"], typer.Option("--needs", help="What a file must hold to be usable.")
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


def corpus_verb(
    *, needs: Needs = "both", without: Sequence[Literal["needs", "valid_fraction"]] = ()
) -> Callable[[Callable[..., Listing]], Callable[..., None]]:
    """Make a verb of a function that reads a listing: its parameters and those of `_prepare` are the options.

    `needs` is what the corpus's files hold; `without` names shared options that mean nothing for the corpus.
    """

    def made(read: Callable[..., Listing]) -> Callable[..., None]:
        own = signature(read).parameters
        shared = {
            name: p for name, p in signature(_prepare).parameters.items() if name not in ("read", *without)
        }
        if "needs" in shared:
            shared["needs"] = shared["needs"].replace(default=needs)

        # typer calls with one keyword for each parameter of the signature below, and no others.
        def run(**given: Any) -> None:
            _prepare(
                partial(read, **{name: given[name] for name in own}),
                **{"needs": needs, **{name: given[name] for name in shared}},
            )

        update_wrapper(run, read)
        cast(Any, run).__signature__ = Signature(_options([*own.values(), *shared.values()]))
        return run

    return made


def _options(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Make keywords of parameters, those that must be given first, as help shows them."""
    keywords = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    return sorted(keywords, key=lambda parameter: parameter.default is not Parameter.empty)


def _prepare(
    read: Callable[[], Listing],
    *,
    videos: Videos,
    out: Out,
    valid_fraction: ValidFraction = None,
    needs: NeedsOption = "both",
    workers: Workers = None,
    time_limit_seconds: TimeLimit = 30.0,
    as_json: AsJson = False,
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
