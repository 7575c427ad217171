"""Two processes that draw from one stream in which a video hangs: each counts its batches, and they meet at every step.

Run by tests/data/test_ranks.py through torchrun: `torchrun --nproc_per_node 2 tests/hanging_ranks.py FOLDER`.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from streams_for_tests import manifest_of, stream_of

from avmi.data import Limits, Quarantine, StreamBatches, training_loader
from avmi.distributed import gather, rank, world_size

STEPS, VIDEOS = 12, 3


def main() -> None:
    dist.init_process_group("gloo")
    folder = Path(sys.argv[1])
    stream = stream_of(
        manifest_of(7), moods={"4.mp4": "hang"}, quarantine=Quarantine.of_run(folder, rank=rank())
    )
    order = StreamBatches(
        first_step=0, steps=STEPS, videos_per_batch=VIDEOS, rank=rank(), world_size=world_size()
    )
    counts, clips, rejects = [], [], 0
    for batch in training_loader(stream, order, workers=1, limits=Limits(time_limit_seconds=0.7)):
        # A collective, as in a training step: were a rank a batch short, the other would wait for ever.
        counts.append(gather(torch.tensor([len(batch.specs)])).tolist())
        clips.append([spec.clip_id for spec in batch.specs])
        rejects += len(batch.rejects)
    result = {"counts": counts, "clips": clips, "rejects": rejects}
    (folder / f"rank_{rank()}.json").write_text(json.dumps(result))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
