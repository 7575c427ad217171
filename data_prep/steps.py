"""Commands that print one JSON object → results.json; a command whose inputs and outputs stand is not repeated.

The commands run as processes of their own, as a user would start them: their progress and their errors go
straight to the terminal.
"""

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avmi.errors import AvmiError, CorpusError

RESULTS_FILE = "results.json"
# How long a stopped command may take to close its files before it is killed.
_GRACE_SECONDS = 20.0

Output = dict[str, Any]


class StepFailed(AvmiError):
    """A command ended with an error, which it has told itself; `exit_code` is the command's."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Step:
    """One command, and what tells whether it needs to run again."""

    name: str  # its key in results.json
    command: tuple[str, ...]  # as a user types it: avmi … or python …
    inputs: str  # fingerprint of what it reads
    outputs: Callable[[Output], str] = lambda output: ""  # fingerprint of what it left; "" when all is gone

    @property
    def typed(self) -> str:
        """The command as a user types it."""
        return shlex.join(self.command)


@dataclass(frozen=True)
class Done:
    """What a step gave: in this run, or in an earlier one (`is_kept`)."""

    name: str
    typed: str
    output: Output
    seconds: float
    is_kept: bool


class Results:
    """results.json of a folder: for each step its command, seconds, output, and what it was made from."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / RESULTS_FILE
        self.done: list[Done] = []
        self._records: dict[str, Any] = _read(self.path)

    def run(self, step: Step) -> Done:
        """Run a step, or keep what an earlier run gave; raises `StepFailed`."""
        print(f"\n$ {step.typed}", flush=True)
        record = self._records.get(step.name, {})
        if self._stands(step, record):
            seconds = float(record["seconds"])
            print(f"  unchanged since the last run, kept (it took {seconds:.1f} s)", flush=True)
            return self._add(Done(step.name, step.typed, record["output"], seconds, is_kept=True))
        self._record(step, output=None, seconds=0.0, outputs="")
        begun = time.monotonic()
        output = _output_of(step)
        seconds = time.monotonic() - begun
        self._record(step, output=output, seconds=seconds, outputs=step.outputs(output))
        print(f"  {seconds:.1f} s", flush=True)
        return self._add(Done(step.name, step.typed, output, seconds, is_kept=False))

    def was_made_from_other(self, name: str, inputs: str) -> bool:
        """Whether an earlier run of this step began with other inputs than these."""
        record = self._records.get(name)
        return record is not None and record.get("inputs") != inputs

    def forget(self, names: Iterable[str]) -> None:
        """Drop the records of steps that are left out this time."""
        for name in names:
            self._records.pop(name, None)
        self._write()

    def _stands(self, step: Step, record: dict[str, Any]) -> bool:
        if record.get("output") is None or record.get("command") != step.typed:
            return False
        return bool(record["inputs"] == step.inputs and record["outputs"] == step.outputs(record["output"]))

    def _add(self, done: Done) -> Done:
        self.done.append(done)
        return done

    def _record(self, step: Step, *, output: Output | None, seconds: float, outputs: str) -> None:
        self._records[step.name] = {
            "command": step.typed,
            "seconds": round(seconds, 2),
            "output": output,
            "inputs": step.inputs,
            "outputs": outputs,
        }
        self._write()

    def _write(self) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(self._records, indent=2) + "\n", encoding="utf-8")
            temporary.replace(self.path)
        except OSError as error:
            raise CorpusError(
                f"{self.path} cannot be written ({error.strerror}): give another --out"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)


def fingerprint(*parts: object) -> str:
    """Hash anything that JSON knows, paths by their content (a folder or missing file by its name alone)."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            content = part.read_bytes() if part.is_file() else str(part).encode("utf-8", "surrogateescape")
            digest.update(hashlib.sha256(content).digest())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()[:16]


def _read(path: Path) -> dict[str, Any]:
    """Read what earlier runs recorded; a file that is no JSON is begun anew."""
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(records, dict) and all(
        isinstance(record, dict) and {"command", "seconds", "output", "inputs", "outputs"} <= record.keys()
        for record in records.values()
    )
    return records if whole else {}


def _output_of(step: Step) -> Output:
    printed = _run(step)
    try:
        output = json.loads(printed)
    except ValueError as error:
        raise StepFailed(
            f"`{step.typed}` printed no JSON on stdout: {printed[:200]!r}", exit_code=1
        ) from error
    if not isinstance(output, dict):
        raise StepFailed(f"`{step.typed}` printed no JSON object on stdout", exit_code=1)
    return output


def _run(step: Step) -> str:
    """Run the command with its stderr on the terminal; return its stdout. Ctrl-C lets it end by itself."""
    process = subprocess.Popen(_argv(step.command), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        printed, _ = process.communicate()
    except KeyboardInterrupt:  # the terminal has sent it to the command, too
        try:
            process.wait(timeout=_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        code = process.returncode if process.returncode > 0 else 128 - process.returncode
        ended = f"exit code {code}"
        if process.returncode < 0:
            ended = f"signal {signal.Signals(-process.returncode).name}"
        raise StepFailed(
            f"`{step.typed}` ended with {ended}, for the reason it gives above; nothing before it is lost: "
            "run the same command again to go on from there",
            exit_code=code,
        )
    return printed.decode("utf-8", "replace")


def _argv(command: tuple[str, ...]) -> list[str]:
    """Start this Python's own avmi, whether or not its folder is on the PATH."""
    match command:
        case ("avmi", *rest):
            return [sys.executable, "-m", "avmi", *rest]
        case ("python", *rest):
            return [sys.executable, *rest]
    raise ValueError(f"neither avmi nor python: {command}")
