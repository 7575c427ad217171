"""Given clips of a manifest's videos → visits, each video once and in order."""

from collections.abc import Sequence

from torch.utils.data import Dataset

from avmi.corpus.manifest import Reject
from avmi.corpus.plan import ClipSpec
from avmi.data.batch import Visit
from avmi.data.cutter import Cutter, Draw
from avmi.data.turn import finish

# A worker may be killed for what others did, by the kernel when memory runs out: its video has another try.
_MOST_DEATHS = 2


class FixedClips(Dataset[Visit]):
    """Item n: the given clips of one video, in order; a video that cannot be read is a reject."""

    def __init__(self, cutter: Cutter, specs: Sequence[ClipSpec]) -> None:
        self.cutter = cutter
        numbers = {video.row_id: n for n, video in enumerate(cutter.manifest)}
        by_video: dict[int, list[ClipSpec]] = {}
        for spec in specs:
            by_video.setdefault(numbers[spec.video.row_id], []).append(spec)
        self.visits = tuple(by_video.items())

    def __len__(self) -> int:
        return len(self.visits)

    def __getitem__(self, item: int) -> Visit:
        """Cut one video's clips in this process."""
        return finish(self.turn(item), self.cutter)

    @property
    def quarantined(self) -> int:
        """Count none: each video is visited once."""
        return 0

    def turn(self, item: int) -> "FixedTurn":
        """Begin a visit."""
        number, specs = self.visits[item]
        return FixedTurn(self.cutter.draw(number, specs, seed=0))


class FixedTurn:
    """One fixed visit in the making: a video that fails is its reject."""

    def __init__(self, draw: Draw) -> None:
        self.rejects: list[Reject] = []
        self._draw, self._deaths = draw, 0

    def draw(self) -> Draw | None:
        """Give what to cut, until that has failed."""
        return None if self.rejects else self._draw

    def refused(self, reject: Reject) -> None:
        """Reject the video."""
        self.rejects.append(reject)

    def lost(self, reject: Reject) -> None:
        """Reject the video when it hung, or when its worker has died a second time."""
        self._deaths += reject.reason == "worker_died"
        if reject.reason != "worker_died" or self._deaths >= _MOST_DEATHS:
            self.rejects.append(reject)
