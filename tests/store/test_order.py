"""The order in which training visits shards that have to be fetched."""

from itertools import groupby
from pathlib import Path

from rows import video_row

from avmi.corpus.manifest import Manifest
from avmi.store.order import ShardOrder, shard_of

SHARDS, EACH = 11, 7
MANIFEST = Manifest(
    Path("s"), tuple(video_row(f"train-{s:05d}.tar/k{v}") for s in range(SHARDS) for v in range(EACH))
)
NUMBERS = range(3, SHARDS * EACH)  # some videos are too short


def test_every_pass_visits_every_video_once_in_another_order() -> None:
    order = ShardOrder(MANIFEST, 3)
    passes = [tuple(order(NUMBERS, 5, n)) for n in range(3)]
    assert all(sorted(found) == list(NUMBERS) for found in passes)
    assert len(set(passes)) == 3


def test_the_order_depends_on_the_seed_and_the_pass_alone() -> None:
    again = ShardOrder(MANIFEST, 3)
    assert list(ShardOrder(MANIFEST, 3)(NUMBERS, 5, 1)) == list(again(list(NUMBERS), 5, 1))
    assert list(again(NUMBERS, 6, 1)) != list(again(NUMBERS, 5, 1))


def test_no_more_than_a_group_of_shards_is_needed_at_a_time() -> None:
    for at_a_time in (1, 3, 4):
        order = list(ShardOrder(MANIFEST, at_a_time)(NUMBERS, 0, 0))
        shards = [shard_of(MANIFEST.videos[number].path) for number in order]
        spans = {s: (shards.index(s), len(shards) - shards[::-1].index(s)) for s in set(shards)}
        for place in range(len(order)):
            assert sum(first <= place < last for first, last in spans.values()) <= at_a_time
    by_one = [
        shard
        for shard, _ in groupby(
            shard_of(MANIFEST.videos[n].path) for n in ShardOrder(MANIFEST, 1)(NUMBERS, 0, 0)
        )
    ]
    assert len(by_one) == SHARDS
