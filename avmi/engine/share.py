"""`i/n` of a job array → which units of the work are this job's, the same on every machine."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from avmi.errors import UsageError


@dataclass(frozen=True)
class Share:
    """The share `number` (from 0) of work that `of` jobs divide among themselves."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def suffix(self) -> str:
        """End the names of files that only this job writes."""
        return f"-{self.number}-of-{self.of}"

    def has(self, name: str) -> bool:
        """Tell whether a unit of this name is this job's: by a hash, so that added units move no other."""
        digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest) % self.of == self.number

    def has_number(self, unit: int) -> bool:
        """Tell whether the unit of this number, in a list that does not change, is this job's: evenly divided."""
        return unit % self.of == self.number


def parse_share(text: str) -> Share:
    """Read `i/n`; raises `UsageError`."""
    number, slash, of = text.partition("/")
    try:
        share = Share(int(number), int(of))
    except ValueError:
        share = None
    if not slash or share is None:
        raise UsageError(f"--shard {text}: it must be i/n, such as 0/8, the first of eight jobs")
    if not 0 <= share.number < share.of:
        raise UsageError(f"--shard {text}: of n jobs, i counts from 0 to n - 1")
    return share


@dataclass(frozen=True)
class ShareDone:
    """What one job of a job array has done; the same command without --shard joins what all have done."""

    out: Path
    share: Share
    what: str  # the units: files, videos
    units: int  # of all jobs
    mine: int  # of this job
    done: int  # by this run; the others were known from earlier runs
    rejected: int  # of this job's
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "shard": str(self.share),
            self.what: self.mine,
            "done": self.done,
            "rejected": self.rejected,
            "seconds": round(self.seconds, 2),
        }

    def as_text(self) -> str:
        """Say it, and what comes next."""
        return (
            f"{self.out}: shard {self.share} is done: {self.mine:,} of {self.units:,} {self.what} "
            f"({self.done:,} now), {self.rejected:,} rejected, in {self.seconds:.1f} s\n"
            f"next: once all {self.share.of} shards are done, the same command without --shard joins them"
        )
