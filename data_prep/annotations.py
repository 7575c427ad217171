"""An annotation file as it was published → its lines or cells, each with its place; another file → one clear error."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avmi.errors import CorpusError


@dataclass(frozen=True)
class Record:
    """The cells of one line."""

    file: Path
    line: int
    cells: tuple[str, ...]

    @property
    def place(self) -> str:
        """File and line, as messages and tables name them."""
        return f"{self.file.name}, line {self.line}"

    def refuse(self, problem: str, *, expected: str) -> CorpusError:
        """Say that this line is not what it should be."""
        return CorpusError(f"{self.file}, line {self.line}: {problem}; expected lines like {expected}")

    def seconds(self, cell: int, *, expected: str) -> float:
        """Read a cell as seconds; raises `CorpusError` when it is no number."""
        try:
            return float(self.cells[cell])
        except ValueError:
            raise self.refuse(f"{self.cells[cell]!r} is no number of seconds", expected=expected) from None


def read_records(
    file: Path,
    *,
    delimiter: str,
    expected: str,
    quoting: int = csv.QUOTE_MINIMAL,
    comments: tuple[str, ...] = ("#",),
) -> list[Record]:
    """Read the lines that are not empty and begin with none of `comments`, their cells stripped.

    A byte-order mark and Windows line ends are taken off. Raises `CorpusError` for a file that is missing,
    empty, no text, or a web page; `expected` is a line as it should be, for the message.
    """
    text = _text(file, expected=expected)
    reader = csv.reader(
        _without_comments(text, comments),
        delimiter=delimiter,
        skipinitialspace=True,
        quoting=quoting,  # type: ignore[arg-type]
    )
    records = []
    try:
        for cells in reader:
            stripped = tuple(cell.strip() for cell in cells)
            if any(stripped):
                records.append(Record(file, reader.line_num, stripped))
    except csv.Error as error:
        raise CorpusError(
            f"{file}, line {reader.line_num}: {error}; expected lines like {expected}"
        ) from error
    if not records:
        raise CorpusError(f"{file} has no line of annotations; expected lines like {expected}")
    return records


def annotation_file(folder: Path, name: str, *, corpus: str) -> Path:
    """Find a file of this name in a folder of annotations; raises `CorpusError` with what is there instead."""
    if (folder / name).is_file():
        return folder / name
    if not folder.is_dir():
        raise CorpusError(f"{folder} is no folder: give the folder of {corpus} that holds {name}")
    there = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(there[:5]) or "nothing"
    raise CorpusError(f"{folder} does not hold {name} of {corpus}; it holds {shown}")


def _text(file: Path, *, expected: str) -> str:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise CorpusError(f"{file} does not exist: give the annotation file as it was published") from None
    except OSError as error:
        raise CorpusError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{file} is no text in UTF-8 ({error.reason}); expected lines like {expected}"
        ) from error
    if text.lstrip()[:1] == "<":
        raise CorpusError(
            f"{file}, line 1: a web page ({text.lstrip()[:20].splitlines()[0]!r}), not annotations: the download went wrong"
        )
    if "\0" in text:
        raise CorpusError(f"{file} is no text; expected lines like {expected}")
    return text


def _without_comments(text: str, comments: tuple[str, ...]) -> Iterator[str]:
    """Give the lines; comments as empty ones, so that lines keep their numbers."""
    for line in io.StringIO(text, newline=""):
        yield "\n" if line.startswith(comments) else line
