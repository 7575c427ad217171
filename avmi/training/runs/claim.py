"""A run folder and a configuration → the right to write there, for a new run or for one that goes on."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from avmi.config.load import dump_config, load_config
from avmi.config.resume import Difference, differences
from avmi.config.schema import FinetuneConfig, PretrainConfig
from avmi.errors import ConfigError, UsageError
from avmi.whole_folder import recover, replace_text

log = logging.getLogger(__name__)

CONFIG = "config.yaml"
_MOST_NAMED = 12  # settings in an error; they fit a screen


@contextlib.contextmanager
def claimed(run: Path, config: PretrainConfig | FinetuneConfig, *, resume: bool) -> Iterator[None]:
    """Make the run folder with the resolved config in it, or check that a run there may go on, and hold it alone.

    What a killed run left half written is put in order. Raises `UsageError` when the folder holds another run, one
    that is not to be resumed or was begun with settings that this one may not have, and when another process writes
    there (as far as the file system has locks).
    """
    begins = not (run / CONFIG).is_file()
    if begins and run.is_dir() and any(run.iterdir()):
        raise UsageError(f"{run} is not empty and holds no run: choose another `run` folder")
    if not begins and not resume:
        raise UsageError(
            f"{run} already holds a run: add --resume to go on with it, or choose another `run` folder"
        )
    with contextlib.ExitStack() as held:
        try:
            run.mkdir(parents=True, exist_ok=True)
            held.enter_context(_alone(run))
            if not begins:
                _check(run, config)
            if begins or (run / CONFIG).read_text(encoding="utf-8") != dump_config(config):
                replace_text(run / CONFIG, dump_config(config))
            recover(run / "checkpoints")
        except OSError as error:
            raise UsageError(f"run folder {run} cannot be written: {error.strerror}") from error
        yield


def _check(run: Path, config: PretrainConfig | FinetuneConfig) -> None:
    """Refuse settings that the run so far cannot have had; name those that it may change."""
    try:
        before = load_config(run / CONFIG, schema=type(config))
    except ConfigError as error:
        raise UsageError(
            f"{run / CONFIG}, with which this run was begun, cannot be read ({str(error).splitlines()[0]}): "
            "choose another `run` folder"
        ) from error
    found = differences(before, config)
    if refused := [d for d in found if not (d.is_free or d.is_of_batches)]:
        raise UsageError(
            f"{run} was begun with other settings than these ({_named(refused)}): "
            "resume with the same ones, or choose another `run` folder"
        )
    if of_batches := [d for d in found if d.is_of_batches]:
        log.warning(
            "%s: from here on the batches differ from those of the run as it was begun; every clip still comes once a pass",
            _named(of_batches),
        )
    if free := [d for d in found if d.is_free and d.key != "run"]:
        log.info("resumed with other settings: %s", _named(free))


def _named(found: Sequence[Difference]) -> str:
    more = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return "; ".join(map(str, found[:_MOST_NAMED])) + more


@contextlib.contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Hold the folder as long as this process writes there; where the file system has no locks, nothing is checked."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(
            f"another process is writing to {run}: wait until it has ended, or choose another `run` folder"
        ) from None
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(descriptor)
