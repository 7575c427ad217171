"""A manifest and a view graph → batches of views; the only package that knows workers and seeds.

Everything random is a function of (seed, position): the n-th video of the stream, its anchors and
its augmentation do not depend on workers, on what was drawn before, or on the process count. So a
run resumes at a step by starting the stream there.
"""

from avmi.data.batch import Batch, Sample, Visit, collate
from avmi.data.cutter import Cutter, Draw
from avmi.data.fixed import FixedClips
from avmi.data.loader import Batches, Loader, fixed_loader, training_loader
from avmi.data.pool import DEFAULT_LIMITS, Limits
from avmi.data.quarantine import Quarantine, quarantined_in
from avmi.data.seeds import stable_seed
from avmi.data.start import share_cores, warm_up
from avmi.data.stream import MOST_REPLACEMENTS, PassOrder, StreamBatches, TrainingStream, shuffled

__all__ = [
    "DEFAULT_LIMITS",
    "MOST_REPLACEMENTS",
    "Batch",
    "Batches",
    "Cutter",
    "Draw",
    "FixedClips",
    "Limits",
    "Loader",
    "PassOrder",
    "Quarantine",
    "Sample",
    "StreamBatches",
    "TrainingStream",
    "Visit",
    "collate",
    "fixed_loader",
    "quarantined_in",
    "share_cores",
    "shuffled",
    "stable_seed",
    "training_loader",
    "warm_up",
]
