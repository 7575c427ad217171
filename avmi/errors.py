"""Every error that avmi raises on purpose: what happened, where, and what to do, in one sentence."""


class AvmiError(Exception):
    """Base of all avmi errors; its text is shown to the user as it is, without a traceback."""

    exit_code = 1
    is_told = False  # whether another process, in which it happened alike, says it to the user


class UsageError(AvmiError):
    """The command line asks for something that cannot be done."""

    exit_code = 2


class ConfigError(AvmiError):
    """A configuration is wrong; the text holds every mistake, one a line."""

    exit_code = 2


class CorpusError(AvmiError):
    """A corpus folder, manifest or source of videos cannot be used."""


class DecodeError(AvmiError):
    """One video cannot be read as asked; `reason` is the short word that tables count by."""

    def __init__(self, message: str, *, reason: str = "decode_error") -> None:
        super().__init__(message)
        self.reason = reason


class CheckpointError(AvmiError):
    """A checkpoint or run folder is missing, broken, or of another version."""


class SearchIndexError(AvmiError):
    """A search index is missing, empty, broken, or of another model."""


class InputError(AvmiError):
    """A picture, sound or array that the user gave cannot be used."""


class TrainingError(AvmiError):
    """Training cannot go on: a loss or gradient that is not finite, or no usable data."""


class ProcessLost(AvmiError):
    """Another process of a run in several processes has ended, so that this one cannot go on."""


class Preempted(AvmiError):
    """A signal asked the run to end; it can be resumed where it stopped."""

    # EX_TEMPFAIL of BSD's sysexits.h: "try again later". Schedulers can tell it from a failure.
    exit_code = 75


class WorkerError(AvmiError):
    """A decoding worker cannot be started."""
