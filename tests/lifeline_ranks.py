"""Two processes without a launcher: one leaves or dies, the other waits for nothing that could tell it.

Run by tests/training/stopping/test_lifeline.py: `RANK=0 WORLD_SIZE=2 … lifeline_ranks.py dies|leaves SECONDS`.
"""

import os
import signal
import sys
import time

import torch.distributed as dist

from avmi.distributed import rank
from avmi.training.stopping.lifeline import Lifeline


def main() -> None:
    dist.init_process_group("gloo")
    how, seconds = sys.argv[1], float(sys.argv[2])
    with Lifeline(grace_seconds=0.5):
        if rank() == 1 and how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if rank() == 0:
            time.sleep(seconds)
    os._exit(0)  # without the process group's own goodbye, which the other does not wait for


if __name__ == "__main__":
    main()
