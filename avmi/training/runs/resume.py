"""What a run was and what it is now → where it goes on, with a warning of what differs."""

import logging

from avmi.config.schema import FinetuneConfig, PretrainConfig
from avmi.data import TrainingStream
from avmi.distributed import rank
from avmi.errors import UsageError
from avmi.training.runs.progress import Progress, visits_per_step
from avmi.training.runs.run_folder import Trained, restore

log = logging.getLogger(__name__)


def resumed(
    config: PretrainConfig | FinetuneConfig, trained: Trained, stream: TrainingStream, *, processes: int
) -> Progress:
    """Bring back the newest whole checkpoint, or begin; every process calls this and goes on from the same place.

    On another number of processes the run goes on at the same position of the stream: no clip of the pass comes
    twice, none is left out, and a warning says that the batches differ. Raises `UsageError` when the corpus is not
    the one that the run was trained on.
    """
    count = visits_per_step(config.data, config.optimizer, processes=processes)
    before, corpus = restore(config.run, trained, visits_per_step=count), stream.fingerprint()
    if before.corpus not in ("", corpus):
        raise UsageError(
            f"{config.corpus} does not hold the training videos, in the same order, with which {config.run} was begun: "
            "resume with the corpus as it was, or choose another `run` folder"
        )
    if before.processes != processes and rank() == 0:
        log.warning(
            "resumed at step %d with %d process(es), before with %d: the run goes on where it was in the stream of clips "
            "(%d visits), but the batches differ, and so do their negatives",
            before.step,
            processes,
            before.processes,
            before.visits,
        )
    return Progress(before.step, before.visits, processes, corpus, before.metrics)
