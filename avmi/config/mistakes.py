"""What is wrong at which key → the lines that a user reads; knows neither YAML nor the schema."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Key = str | int
Keys = tuple[Key, ...]

# difflib's own cutoff suits words; of two letters one typo leaves a ratio of one half.
_CUTOFF = 0.6
_SHORT_WORD_CUTOFF = 0.5
_SHORT_WORD_LETTERS = 4


@dataclass(frozen=True)
class Mistake:
    """One mistake in a configuration: the key it is at, and a clause that says what and what instead."""

    keys: Keys  # () is the configuration as a whole
    message: str
    where: str | None = None  # file:line or override; None when only the key is known

    @property
    def line(self) -> str:
        """The mistake as the user reads it: where, key, message."""
        return ": ".join(part for part in (self.where, dotted(self.keys), self.message) if part)


def dotted(keys: Sequence[Key]) -> str:
    """Write a key as overrides do: data.workers, pairs.0.weight."""
    return ".".join(str(key) for key in keys)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that looks most like this one; None when none does."""
    cutoff = _SHORT_WORD_CUTOFF if len(word) <= _SHORT_WORD_LETTERS else _CUTOFF
    by_lower_case = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower_case, n=1, cutoff=cutoff)
    return by_lower_case[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """End a sentence with the nearest known word, or with `otherwise` when none is near."""
    near = nearest(word, known)
    return f"did you mean {near}?" if near else otherwise


def listed(words: Iterable[object], *, last: str = "and") -> str:
    """Write words as English does: a, b and c."""
    *head, tail = [str(word) for word in words] or ["nothing"]
    return f"{', '.join(head)} {last} {tail}" if head else tail
