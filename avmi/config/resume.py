"""The settings that a run was begun with, and those it is resumed with → which differ, and whether they may."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avmi.config.base import Settings

# They change what is recorded, where things are, or what decoding may cost; no batch and no weight.
FREE = (
    "run",
    "logging.",
    "data.workers",
    "data.memory_gigabytes",
    "data.time_limit_seconds",
    "data.prefetch_batches",
    "data.prefetch_gigabytes",
    "data.worker_memory_gigabytes",
    "data.shard_cache",
    "data.shard_cache_gigabytes",
    "optimizer.sharded",
    "encoders.image.checkpoint_activations",
    "encoders.motion.checkpoint_activations",
    "encoders.audio.checkpoint_activations",
    "corpus",  # the same videos may lie elsewhere: the run checks that they are the same
)
# They divide the stream of clips otherwise, as another number of processes does: the run goes on where it was in the
# stream, with other batches.
BATCHES = ("data.batch_clips", "optimizer.accumulation_steps")
# What is refused and is often asked for, with the reason.
REASONS = {
    "optimizer.steps": "the learning rate of every step so far was a function of their number",
}
_ABSENT = "(none)"


@dataclass(frozen=True)
class Difference:
    """One setting that differs."""

    key: str  # dotted, as on the command line
    before: Any
    now: Any

    def __str__(self) -> str:
        reason = f" ({REASONS[self.key]})" if self.key in REASONS else ""
        return f"{self.key}: {self.before} -> {self.now}{reason}"

    @property
    def is_free(self) -> bool:
        """Whether the run would have been the same with it from the beginning."""
        return any(self.key == key or (key.endswith(".") and self.key.startswith(key)) for key in FREE)

    @property
    def is_of_batches(self) -> bool:
        """Whether only the batches differ from here on."""
        return self.key in BATCHES


def differences(before: Settings, now: Settings) -> list[Difference]:
    """List the settings that differ, in the order of the schema; those that only one side has are absent from the other."""
    old, new = _flat(before.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    return [
        Difference(key, old.get(key, _ABSENT), new.get(key, _ABSENT))
        for key in dict.fromkeys([*old, *new])
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]


def _flat(value: Any, prefix: str = "") -> Mapping[str, Any]:
    """Write nested groups and lists as dotted keys; empty ones stand for themselves."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    flat: dict[str, Any] = {}
    for name, inner in parts:
        flat |= _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    return flat or {prefix: value}
