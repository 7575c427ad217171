"""`avmi …` in several processes, the second of which fails at its third step, and the others do not.

Run by tests/workflows/test_pretrain_on_two_processes.py through torchrun.
"""

from avmi.cli import main
from avmi.distributed import rank
from avmi.errors import CorpusError
from avmi.training import loop

take_step = loop.optimizer_step


def failing(parts, *arguments, step: int):
    if rank() == 1 and step == 2:
        raise CorpusError("the disk of this process is gone")
    return take_step(parts, *arguments, step=step)


if __name__ == "__main__":
    loop.optimizer_step = failing
    main()
