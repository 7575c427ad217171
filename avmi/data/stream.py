"""A manifest and a seed → an endless stream of visits, and each process's share of its positions."""

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence

from torch.utils.data import Dataset, Sampler

from avmi.corpus.manifest import Reject
from avmi.corpus.plan import SignalView, anchors_of_pairs, cut, draw_anchor
from avmi.data.batch import Visit
from avmi.data.cutter import Cutter, Draw
from avmi.data.quarantine import Quarantine
from avmi.data.seeds import stable_seed
from avmi.data.turn import finish
from avmi.errors import CorpusError, TrainingError
from avmi.store.packing import read_packing

# A draw that fails is replaced by other videos; this many failures in a row mean a lost disk, not bad files.
MOST_REPLACEMENTS = 20

# (numbers of the videos, seed, which pass) → the same numbers in the order in which the pass visits them.
# It must depend on nothing else: that is what makes a resumed run the run it resumes.
PassOrder = Callable[[Sequence[int], int, int], Sequence[int]]


def shuffled(numbers: Sequence[int], seed: int, this_pass: int) -> Sequence[int]:
    """Visit the videos in an order of chance, another one in each pass."""
    order = list(numbers)
    random.Random(stable_seed(seed, "order", this_pass)).shuffle(order)
    return order


class TrainingStream(Dataset[Visit]):
    """Item n: the n-th video of an endless stream, cut at random anchors.

    Each pass over the corpus is another permutation. A video that cannot be read is replaced by
    another one, chosen by the position and the attempt alone, and reported.
    """

    def __init__(
        self,
        cutter: Cutter,
        *,
        pairs: Sequence[tuple[str, str]],
        clips_per_video: int,
        seed: int,
        order: PassOrder = shuffled,
        quarantine: Quarantine | None = None,
    ) -> None:
        self.cutter, self.clips_per_video, self.seed = cutter, clips_per_video, seed
        self.quarantine = quarantine if quarantine is not None else Quarantine()
        self.next_position = 0  # the first one that was not begun
        self.views: dict[str, SignalView] = cutter.maker.views
        self.anchors = {
            number: intervals
            for number, video in enumerate(cutter.manifest)
            if (intervals := anchors_of_pairs(video, self.views, pairs))
        }
        if not self.anchors:
            raise CorpusError(
                f"no video of the {len(cutter.manifest)} is long enough for any view pair: "
                "shorten the windows or offsets, or prepare longer videos"
            )
        self.numbers = tuple(self.anchors)
        self._paths = {cutter.manifest.videos[number].path for number in self.numbers}
        self._order_of_pass = order
        self._pass = -1
        self._order: Sequence[int] = ()

    def __getitem__(self, position: int) -> Visit:
        """Make one visit in this process; raises `TrainingError` when video after video fails."""
        return finish(self.turn(position), self.cutter)

    @property
    def quarantined(self) -> int:
        """Count the videos that are drawn no more."""
        return len(self.quarantine)

    def turn(self, position: int) -> "StreamTurn":
        """Begin a visit."""
        self.next_position = max(self.next_position, position + 1)
        return StreamTurn(self, position)

    def video_at(self, position: int, attempt: int) -> int:
        """Give the number of the video of a position; attempts after the first are drawn at random."""
        if attempt:
            return random.Random(stable_seed(self.seed, position, attempt)).choice(self.numbers)
        this_pass, place = divmod(position, len(self.numbers))
        if this_pass != self._pass:
            self._pass, self._order = this_pass, self._order_of_pass(self.numbers, self.seed, this_pass)
        return self._order[place]

    def fingerprint(self) -> str:
        """Hash the videos in the order of the first pass, and how they are packed: equal where positions mean the same clips."""
        manifest = self.cutter.manifest
        order = self._order_of_pass(self.numbers, self.seed, 0)
        packing = read_packing(manifest.corpus) if manifest.corpus is not None else None
        lines = [repr(packing), *(manifest.videos[number].content_id for number in order)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def draw(self, position: int, number: int) -> Draw:
        """Draw the anchors of a visit."""
        rng = random.Random(stable_seed(self.seed, position, "anchors"))
        video = self.cutter.manifest.videos[number]
        anchors = sorted(draw_anchor(self.anchors[number], rng) for _ in range(self.clips_per_video))
        specs = [cut(video, self.views, anchor) for anchor in anchors]
        return self.cutter.draw(number, specs, seed=stable_seed(self.seed, position, "views"))

    def require_videos(self) -> None:
        """Raise `TrainingError` when every video is quarantined."""
        if len(self.quarantine) >= len(self._paths) and self._paths <= self.quarantine.paths:
            raise TrainingError(
                f"all {len(self._paths)} videos are quarantined, because they hung or killed their worker: look at "
                f"{self.quarantine.file or 'the log'} for the reasons; a slow disk needs a larger "
                "data.time_limit_seconds"
            )


class StreamTurn:
    """One visit of the stream in the making: a video that fails gives way to the next attempt's."""

    def __init__(self, stream: TrainingStream, position: int) -> None:
        self.stream, self.position, self.attempt = stream, position, 0
        self.rejects: list[Reject] = []

    def draw(self) -> Draw:
        """Give what to cut now; raises `TrainingError` when video after video has failed."""
        quarantine, videos = self.stream.quarantine, self.stream.cutter.manifest.videos
        while True:
            self.stream.require_videos()
            if len(self.rejects) >= MOST_REPLACEMENTS:
                raise TrainingError(self._despair())
            number = self.stream.video_at(self.position, self.attempt)
            if quarantine.holds(videos[number].path, self.position):
                self.attempt += 1
            elif (reject := quarantine.lost(self.position, self.attempt)) is not None:
                self.refused(reject)
            else:
                return self.stream.draw(self.position, number)

    def refused(self, reject: Reject) -> None:
        """Go on to the next attempt."""
        self.rejects.append(reject)
        self.attempt += 1

    def lost(self, reject: Reject) -> None:
        """Count a strike against the video, and go on to the next attempt."""
        stream = self.stream
        stream.quarantine.strike(
            reject, position=self.position, attempt=self.attempt, next_position=stream.next_position
        )
        self.refused(reject)

    def _despair(self) -> str:
        last = self.rejects[-1]
        return (
            f"{MOST_REPLACEMENTS} videos in a row could not be read, the last being "
            f"{self.stream.cutter.manifest.root / last.path} ({last.detail}): is the disk still there?"
        )


class StreamBatches(Sampler[list[int]]):
    """Positions of the stream for each step, from `first_step` on: this process's share.

    `first_position` is the first of `first_step`, for all processes: None, where it would be if every step before had
    been as large as those that come.
    """

    def __init__(
        self,
        *,
        first_step: int,
        steps: int,
        videos_per_batch: int,
        rank: int,
        world_size: int,
        first_position: int | None = None,
    ) -> None:
        self.first_step, self.steps = first_step, steps
        self.videos_per_batch, self.rank, self.world_size = videos_per_batch, rank, world_size
        whole = first_step * world_size * videos_per_batch
        self.first_position = whole if first_position is None else first_position

    def __len__(self) -> int:
        return self.steps - self.first_step

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self.steps - self.first_step):
            batch = number * self.world_size + self.rank
            first = self.first_position + batch * self.videos_per_batch
            yield list(range(first, first + self.videos_per_batch))
