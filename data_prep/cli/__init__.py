"""The words on the command line → one verb for each corpus; results → stdout, progress and errors → stderr."""

import sys

import typer

from avmi.terminal import explained
from data_prep.cli import corpora
from data_prep.cli.atari import atari

app = typer.Typer(
    help="Prepare public corpora for avmi: nothing is downloaded, files on disk are matched with annotations.",
    epilog="docs/corpora.md says how each corpus is usually obtained. "
    "Exit codes: 0 done, 1 it failed, 2 bad usage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # it would take [atari] for a colour
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _verbs() -> None:
    """Prepare public corpora for avmi: nothing is downloaded, files on disk are matched with annotations."""


for verb in (
    corpora.vggsound,
    corpora.audioset,
    corpora.ave,
    corpora.kinetics,
    corpora.ucf101,
    corpora.hmdb51,
    corpora.esc50,
    corpora.folder,
    corpora.csv,
    atari,
):
    app.command()(verb)


def main() -> None:
    """Run the command line; every error is a sentence on stderr and its exit code."""
    try:
        code = app(prog_name="python -m data_prep", standalone_mode=False)
        if code == 130:  # typer has caught the KeyboardInterrupt
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as error:
        code, text = explained(error)
        print(
            "\n".join(f"error: {line.removeprefix('avmi: ')}" for line in text.splitlines()), file=sys.stderr
        )
    sys.exit(code if isinstance(code, int) else 0)
