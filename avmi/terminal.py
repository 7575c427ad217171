"""A workflow's result or error → stdout, stderr and the exit code; knows no verb."""

import contextlib
import io
import json
import logging
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from avmi import __version__
from avmi.config.mistakes import listed
from avmi.errors import AvmiError

TRACEBACK_VARIABLE = "AVMI_TRACEBACK"

STOPPED = 130  # what a shell reports of a program that Ctrl-C ended: 128 + SIGINT

# A launcher ends all processes as soon as one has ended: the one that says what has happened needs a moment.
_TELLING_SECONDS = 1.0

# Torch hands over errors of its worker processes with their whole traceback as the text.
_WORKER_TRACEBACK = "Original Traceback (most recent call last):"


class Result(Protocol):
    """What every workflow returns."""

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        ...

    def as_text(self) -> str:
        """Say it to a person."""
        ...


def show(verb: Callable[[], Result], *, as_json: bool) -> None:
    """Run a workflow and print its result; whatever it prints on the way goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        result = verb()
    if os.environ.get("RANK", "0") != "0":
        return  # of several processes, the first one speaks
    print(json.dumps(_finite(result.as_json())) if as_json else result.as_text(), flush=True)


def run(app: Callable[..., Any], arguments: Sequence[str]) -> int:
    """Run a command line; every error becomes lines on stderr and an exit code, none a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid UTF-8
    logging.basicConfig(stream=sys.stderr, format="avmi: %(message)s", level=logging.WARNING)
    logging.getLogger("avmi").setLevel(logging.INFO)
    try:
        code = app(list(arguments), prog_name="avmi", standalone_mode=False)
        if code == STOPPED:  # typer has caught the KeyboardInterrupt
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            traceback.print_exc()
        code, text = explained(error)
        if isinstance(error, AvmiError) and error.is_told:
            time.sleep(_TELLING_SECONDS)
        else:
            print(text, file=sys.stderr, flush=True)
        return code


def explained(error: BaseException) -> tuple[int, str]:
    """Give the exit code of an error and what the user reads of it."""
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return STOPPED, "avmi: stopped"
    if isinstance(error, AvmiError):
        return error.exit_code, "\n".join(f"avmi: {line}" for line in _told(error).splitlines())
    if hasattr(error, "format_message"):  # what typer finds wrong with the words
        return 2, _usage(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            1,
            "avmi: out of memory; use chunks (optimizer.chunk_clips), smaller batches, fewer workers or smaller views",
        )
    if isinstance(error, OSError) and error.strerror:
        at = f"{error.filename}: " if error.filename is not None else ""
        return 1, f"avmi: {at}{error.strerror}"
    told = " ".join(f"{type(error).__name__}: {error}".split())
    return 1, (
        f"avmi: this is a bug in avmi {__version__}: {told} "
        f"(please report it; {TRACEBACK_VARIABLE}=1 before the command shows where it happened)"
    )


def _told(error: AvmiError) -> str:
    text = str(error) or type(error).__name__
    return text.rstrip().splitlines()[-1].partition(": ")[2] if _WORKER_TRACEBACK in text else text


def _usage(error: Any) -> str:
    if type(error).__name__ == "NoArgsIsHelpError":
        return str(error.format_message())
    context = getattr(error, "ctx", None)
    text = " ".join(str(error.format_message()).split()).rstrip(".")
    text = text.replace("Value error, ", "").replace("Input should be", "it must be")
    near = getattr(error, "possibilities", None)
    if option := getattr(error, "option_name", None) if near is not None else None:
        text = f"no such option: {option}" + (f"; did you mean {listed(near, last='or')}?" if near else "")
        if not near and context and any(p.name == "overrides" for p in context.command.params):
            text += f"; settings are written without dashes: {option.lstrip('-')}=VALUE"
    see = f" (see `{context.command_path} --help`)" if context else ""
    return f"avmi: {text[:1].lower()}{text[1:]}{see}"


def _finite(value: Any) -> Any:
    """Write what is no number as null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
