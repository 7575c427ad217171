"""The words on the command line → one call of one workflow each; its result → stdout, errors → stderr.

Everything heavy is imported inside the verbs, so that help and mistakes are quick.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from avmi import __version__
from avmi.cli.arguments import (
    AnySplit,
    AsJson,
    Checkpoint,
    Config,
    Corpus,
    Engine,
    Overrides,
    Resume,
    Shard,
    Workers,
)
from avmi.cli.config import config_app
from avmi.cli.corpus import pack, prepare
from avmi.cli.evaluate import evaluate_app
from avmi.cli.mi import mi_app
from avmi.terminal import show

app = typer.Typer(
    name="avmi",
    help="Learn representations of sight and sound from unlabelled video.\n\n"
    "prepare a folder of videos, pretrain encoders on it, then embed, index, retrieve, evaluate, finetune.",
    epilog="Results go to stdout, progress and errors to stderr. "
    "Exit codes: 0 done, 1 the run failed, 2 bad usage or configuration, 75 training stopped by a signal and saved.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> bool:
    if asked:
        print(f"avmi {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def options_of_all(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Take the options that stand before the verb."""


app.command(epilog="Example: avmi prepare ~/videos --out corpora/mine")(prepare)
app.command(epilog="Example: avmi pack corpora/mine --out shards/mine\n\nThen: corpus: shards/mine")(pack)


@app.command(epilog="Example: avmi views configs/pretrain/quickstart.yaml corpora/mine --report views.html")
def views(
    config: Config,
    corpus: Corpus,
    overrides: Overrides = None,
    report: Annotated[
        Path | None, typer.Option(metavar="HTML", help="Page to write: clips cut into views, the graph.")
    ] = None,
    clips: Annotated[int, typer.Option(metavar="N", min=1, help="Clips on the page.")] = 4,
    split: Annotated[
        Literal["train", "valid", "test"], typer.Option(help="Which videos to cut clips from.")
    ] = "train",
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Other clips and draws than those of the configuration."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the views and pairs of a configuration.

    Clips are cut and augmented as `avmi pretrain` would, and drawn as the encoders take them.
    """
    from avmi.config.load import load_config
    from avmi.config.schema import PretrainConfig

    settings = load_config(config, overrides or (), schema=PretrainConfig)
    from avmi.workflows.views import views as verb

    show(lambda: verb(settings, corpus, report=report, clips=clips, split=split, seed=seed), as_json=as_json)


@app.command(
    epilog="Example: avmi pretrain configs/pretrain/quickstart.yaml optimizer.steps=500\n\nSeveral processes: accelerate launch -m avmi pretrain CONFIG"
)
def pretrain(
    config: Config, overrides: Overrides = None, resume: Resume = False, as_json: AsJson = False
) -> None:
    """Pretrain encoders on the views of a corpus.

    The mutual information between views of the same moment is maximized, without labels.
    """
    from avmi.config.load import load_config
    from avmi.config.schema import PretrainConfig

    settings = load_config(config, overrides or (), schema=PretrainConfig)
    from avmi.workflows.pretrain import pretrain as verb

    show(lambda: verb(settings, resume=resume), as_json=as_json)


@app.command(epilog="Example: avmi finetune configs/finetune/quickstart_probe.yaml view=audio")
def finetune(
    config: Config, overrides: Overrides = None, resume: Resume = False, as_json: AsJson = False
) -> None:
    """Train a classifier on pretrained encoders.

    A linear probe on frozen features (train=head), or full fine-tuning (train=all).
    """
    from avmi.config.load import load_config
    from avmi.config.schema import FinetuneConfig

    settings = load_config(config, overrides or (), schema=FinetuneConfig)
    from avmi.workflows.finetune import finetune as verb

    show(lambda: verb(settings, resume=resume), as_json=as_json)


@app.command(epilog="Example: avmi embed checkpoints/quickstart corpora/mine --out mine.parquet")
def embed(
    checkpoint: Checkpoint,
    corpus: Corpus,
    out: Annotated[Path, typer.Option(metavar="TABLE", help="Parquet file to write.")],
    split: AnySplit = "all",
    workers: Workers = 1,
    engine: Engine = "local",
    shard: Shard = None,
    as_json: AsJson = False,
) -> None:
    """Write the embeddings of a corpus as a Parquet table.

    Stopped and started again, it goes on where it was.
    """
    if shard is not None:
        from avmi.engine.share import parse_share
        from avmi.workflows.embed import embed_share

        share = parse_share(shard)
        show(
            lambda: embed_share(
                checkpoint, corpus, out=out, share=share, split=split, workers=workers, engine=engine
            ),
            as_json=as_json,
        )
        return
    from avmi.workflows.embed import embed as verb

    show(
        lambda: verb(checkpoint, corpus, out=out, split=split, workers=workers, engine=engine),
        as_json=as_json,
    )


@app.command(epilog="Example: avmi index checkpoints/quickstart corpora/mine --out mine.index")
def index(
    checkpoint: Checkpoint,
    corpus: Corpus,
    out: Annotated[Path, typer.Option(metavar="INDEX", help="Index to write.")],
    split: AnySplit = "all",
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Make the clips of a corpus searchable."""
    from avmi.workflows.index import index as verb

    show(lambda: verb(checkpoint, corpus, out=out, split=split, workers=workers), as_json=as_json)


@app.command(epilog="Example: avmi retrieve mine.index --image dog.jpg --k 5 --report hits.html")
def retrieve(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="Index that `avmi index` wrote.")],
    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Picture to find sounds for; may be given several times."),
    ] = None,
    audio: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Sound to find pictures for; may be given several times."),
    ] = None,
    k: Annotated[int, typer.Option("--k", metavar="N", min=1, help="Hits of each query.")] = 10,
    report: Annotated[Path | None, typer.Option(metavar="HTML", help="Page with players to write.")] = None,
    save_audio: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the hits' sound.")
    ] = None,
    one_per_video: Annotated[
        bool, typer.Option("--one-per-video", help="Keep only the best hit of each video.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the sounds of a picture, or the pictures of a sound."""
    from avmi.workflows.retrieve import retrieve as verb

    show(
        lambda: verb(
            index,
            image=image or [],
            audio=audio or [],
            k=k,
            report=report,
            save_audio=save_audio,
            one_per_video=one_per_video,
        ),
        as_json=as_json,
    )


app.add_typer(evaluate_app, name="evaluate")
app.add_typer(mi_app, name="mi")
app.add_typer(config_app, name="config")
