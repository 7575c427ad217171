"""A file of a folder → the right to write there, alone or with others that write beside; ends with the process."""

import sys
from pathlib import Path
from typing import Literal

from avmi.errors import CorpusError


def hold(descriptor: int, folder: Path, *, verb: str, how: Literal["alone", "with_others"]) -> None:
    """Take the right through an open file; raises `CorpusError` when another run has it.

    On a file system without locks nothing is checked.
    """
    if sys.platform == "win32":
        return
    import fcntl

    kind = fcntl.LOCK_EX if how == "alone" else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CorpusError(
            f"another `avmi {verb}` is writing to {folder}: wait for it, or give another --out"
        ) from error
    except OSError:
        return
