"""A packed corpus that the tests of shards read."""

import io
from pathlib import Path

import pytest

from avmi.store.packing import Packing
from avmi.workflows.pack import PackRequest, pack


@pytest.fixture(scope="session")
def packed(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the tiny corpus: 48 px, several shards a split. Read only."""
    out = tmp_path_factory.mktemp("packed") / "shards"
    pack(
        PackRequest(tiny_corpus, out=out, packing=Packing(size_px=48, shard_megabytes=0.3), workers=2),
        log=io.StringIO(),
    )
    return out
