"""Clips of the train split → mean and standard deviation of their log-mel values."""

import math

from avmi.config.views import AudioView
from avmi.data import DEFAULT_LIMITS, Limits, StreamBatches, TrainingStream, training_loader
from avmi.models.encoders import LogMelStatistics

# The mean of 256 clips is known to a few hundredths of a neper: far below what encoders notice.
CLIPS = 256


def measure_log_mel(
    stream: TrainingStream, *, clips: int = CLIPS, workers: int = 0, limits: Limits = DEFAULT_LIMITS
) -> LogMelStatistics:
    """Measure over the audio views of the stream's first clips; (0, 1) when there are none."""
    names = [name for name, view in stream.views.items() if isinstance(view, AudioView)]
    visits = -(-clips // stream.clips_per_video)
    count, total, squares = 0, 0.0, 0.0  # summed up in float64: no clip has to stay in memory
    steps = min(visits, 4 * len(stream.numbers))
    positions = StreamBatches(first_step=0, steps=steps, videos_per_batch=1, rank=0, world_size=1)
    for batch in training_loader(stream, positions, workers=workers, limits=limits):
        for values in (batch.views[name].double() for name in names if name in batch.views):
            count += values.numel()
            total += float(values.sum())
            squares += float(values.square().sum())
    if not count:
        return LogMelStatistics(0.0, 1.0)
    mean = total / count
    # A corpus of one constant sound has no spread; its spectrogram is then only centred.
    return LogMelStatistics(mean, std=max(math.sqrt(max(0.0, squares / count - mean**2)), 1e-3))
