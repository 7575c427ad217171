"""The shards of a corpus at an address → the order in which a pass visits its videos, so that each is fetched once.

Shards are shuffled, then taken a group at a time; the videos of a group are shuffled among each other. The order
depends on the seed and the pass alone, so a run that is resumed goes on exactly.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from avmi.corpus.manifest import Manifest


@dataclass(frozen=True)
class ShardOrder:
    """Orders the numbers of a manifest's videos; it is what `TrainingStream` takes as its order of a pass."""

    manifest: Manifest
    shards_at_a_time: int

    def __call__(self, numbers: Sequence[int], seed: int, this_pass: int) -> Sequence[int]:
        """Give the same numbers in the order in which the pass visits them."""
        by_shard: dict[str, list[int]] = {}
        for number in numbers:
            by_shard.setdefault(shard_of(self.manifest.videos[number].path), []).append(number)
        rng = random.Random(f"{seed}/shards/{this_pass}")
        shards = sorted(by_shard)
        rng.shuffle(shards)
        order: list[int] = []
        for first in range(0, len(shards), self.shards_at_a_time):
            group = [n for shard in shards[first : first + self.shards_at_a_time] for n in by_shard[shard]]
            rng.shuffle(group)
            order += group
        return order


def shard_of(path: str) -> str:
    """Name the shard of a packed video by its path in the manifest."""
    return path.partition("/")[0]
