"""What a run counts and has warned of ↔ plain values: a resumed run counts on, and warns of nothing twice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from avmi.training.watching.collapse import CollapseWatch
from avmi.training.watching.rejects import RejectedVideos
from avmi.training.watching.saturated import SaturatedTerms
from avmi.training.watching.skipped import SkippedTerms


@dataclass
class RunCounts:
    """The main process's counts and watches, which checkpoints keep."""

    overflows: int = 0  # updates that were left out because a gradient overflowed in half precision

    rejected: RejectedVideos = field(default_factory=RejectedVideos)
    skipped: SkippedTerms = field(default_factory=SkippedTerms)
    saturated: SaturatedTerms = field(default_factory=SaturatedTerms)
    collapse: CollapseWatch = field(default_factory=CollapseWatch)

    def scalars(self) -> dict[str, float]:
        """Give what a record of training shows; some of it is counted anew from there."""
        overflows = {"skipped_updates": float(self.overflows)} if self.overflows else {}
        return self.skipped.scalars() | self.rejected.scalars() | overflows

    def state(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "overflows": self.overflows,
            "rejected": self.rejected.state(),
            "skipped": self.skipped.state(),
            "saturated": self.saturated.state(),
            "collapse": self.collapse.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; what an older checkpoint lacks begins anew."""
        self.overflows = int(state.get("overflows", 0))
        self.rejected.load(state.get("rejected", {}))
        self.skipped.load(state.get("skipped", {}))
        self.saturated.load(state.get("saturated", []))
        self.collapse.load(state.get("collapse", {}))
