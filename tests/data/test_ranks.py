"""A hanging video in one of several processes that train together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from streams_for_tests import manifest_of, steps, stream_of

from avmi.data import quarantined_in


@pytest.mark.slow
def test_two_ranks_with_a_hanging_video_make_equal_numbers_of_full_batches(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tests.parent), str(tests)])
    script = [str(tests / "hanging_ranks.py"), str(tmp_path)]
    done = subprocess.run([*command, *script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in (0, 1)]
    for found in ranks:
        assert found["counts"] == [[3, 3]] * 12
    assert sum(found["rejects"] for found in ranks) >= 2
    assert set(quarantined_in(tmp_path)) <= {"4.mp4"}
    # The clips are those of one process whose file is refused instead.
    refused = steps(stream_of(manifest_of(7), broken=["4.mp4"]), first=0, until=12, videos=6)
    together = [one + other for one, other in zip(*(found["clips"] for found in ranks), strict=True)]
    assert together == [[spec.clip_id for spec in batch.specs] for batch in refused]
