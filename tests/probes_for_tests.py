"""A path's name → what a probe may do with it: answer, refuse, hang, crash. Imported by child processes."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rows import usable

from avmi.errors import DecodeError


def obedient(path: Path) -> dict[str, Any]:
    """Do what the name says; note every call in a file beside, so that tests can count them."""
    name = path.name
    with path.with_name("calls.log").open("a") as log:
        log.write(f"{name}\n")
    if "hang" in name:
        time.sleep(100)
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "exit" in name:
        os._exit(3)
    if "refused" in name:
        raise DecodeError("it is refused", reason="no_audio")
    if "bug" in name:
        raise RuntimeError("a library's own error")
    print("noise on stdout")
    print("noise on stderr", file=sys.stderr)
    return {"name": name, "process": os.getpid(), "torch": "torch" in sys.modules}


def patient(path: Path) -> dict[str, Any]:
    """Answer for what `obedient` hangs or crashes on, unless it is said to be hopeless."""
    if "hopeless" in path.name:
        time.sleep(100)
    return {"name": path.name, "second": True}


def slow(path: Path) -> dict[str, Any]:
    """Take a tenth of a second."""
    time.sleep(0.1)
    return obedient(path)


def canned(path: Path) -> dict[str, Any]:
    """Give the facts of an ordinary video, unless the name says to hang or crash."""
    obedient(path)
    return canned_second(path)


def canned_second(path: Path) -> dict[str, Any]:
    """Give the facts of an ordinary video whose content is the file's text."""
    return usable(path.name, of=path.read_text()).facts or {}


def slow_canned(path: Path) -> dict[str, Any]:
    """Do it slowly."""
    time.sleep(0.1)
    return canned(path)


def no_thumbnail(path: Path) -> dict[str, Any]:
    """Draw nothing."""
    raise DecodeError("no picture in a text")
