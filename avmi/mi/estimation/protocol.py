"""The frozen settings of the estimator and of its benchmark, all in one place; nothing here is chosen per task."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EstimatorSettings:
    """How `avmi.mi.estimate` splits, trains and chooses; the same for all data."""

    train_share: float = 0.5  # the rest is halved: validation, held-out
    batch_rows: int = 128
    group_rows: int = 32  # rows that are each other's negatives in training: 16, 32 and 64 read alike
    learning_rate: float = 1e-2  # 2e-3 had not come as far in the same steps on additive noise
    width: int = 32
    layers: int = 3
    most_steps: int = 1500
    check_steps: int = 25
    patience_steps: int = 400
    networks: int = 1  # whose scores are averaged
    mean_decay: float = 0.98  # of the running mean of weights: about the last 50 steps
    check_rows: int = 512  # validation rows that choose the step; the candidate is chosen on all
    most_ranks: int = 8  # canonical pairs tried
    most_inputs: int = 6  # variates a side that a network sees; of fewer dimensions it sees all
    rows_per_dim: int = 20  # training rows for each dimension kept; beyond it principal components are taken
    most_negatives: int = 2000  # K of held-out rows; more rows are read in blocks of this size


ESTIMATOR = EstimatorSettings()


@dataclass(frozen=True)
class StreamSettings:
    """How `avmi.mi.StreamEstimator` learns from a stream; the same for all streams."""

    blind_steps: int = 8  # batches before the first reading
    refresh_growth: float = 1.25  # of the rows, before the margins are fitted anew
    most_batches: int = 1024  # that the margins are fitted on
    renew_steps: int = 80  # age at which a young fit is weighed against the old one
    choose_steps: int = 100  # batches whose likelihood chooses the candidate
    width: int = 64
    learning_rate: float = 1e-3


STREAM = StreamSettings()


@dataclass(frozen=True)
class RampProtocol:
    """The ramp of Poole et al. 2019, section 3: one stream whose mutual information rises by levels."""

    dim: int = 20
    batch_rows: int = 64
    levels_nats: tuple[float, ...] = (2.0, 4.0, 6.0, 8.0, 10.0)
    steps_per_level: int = 700
    window_share: float = 0.25  # of a level's last steps, whose mean is reported
    critic_hidden_dims: tuple[int, ...] = (128, 128)  # of the estimators compared with
    critic_embedding_dim: int = 32
    critic_learning_rate: float = 1e-3
    interpolated_alpha: float = 0.01
    smile_clip: float = 1.0


RAMP = RampProtocol()


@dataclass(frozen=True)
class TasksProtocol:
    """Samples of each task of Czyż et al. 2023: half trains, a quarter validates, a quarter is held out."""

    rows: int = 4000
    seeds: int = 3


TASKS = TasksProtocol()
