"""Where a run goes on in the stream of clips, whatever number of processes it is resumed on."""

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from avmi.config.data import Data
from avmi.config.parts import Optimizer
from avmi.data import StreamBatches
from avmi.training.runs.progress import Progress, visits_per_step


@dataclass(frozen=True)
class Launch:
    """One launch of a run: so many processes, until so many steps more."""

    processes: int
    videos: int  # of a batch
    clips_per_video: int
    accumulation: int
    steps: int


LAUNCHES = st.lists(
    st.builds(
        Launch,
        processes=st.integers(1, 4),
        videos=st.integers(2, 5),
        clips_per_video=st.integers(1, 3),
        accumulation=st.integers(1, 3),
        steps=st.integers(0, 4),
    ),
    min_size=1,
    max_size=5,
)


def positions_of(launch: Launch, begun: Progress) -> Iterator[int]:
    """Give the positions that all processes of a launch take."""
    last = (begun.step + launch.steps) * launch.accumulation
    for rank in range(launch.processes):
        batches = StreamBatches(
            first_step=begun.step * launch.accumulation,
            first_position=begun.visits,
            steps=last,
            videos_per_batch=launch.videos,
            rank=rank,
            world_size=launch.processes,
        )
        for batch in batches:
            yield from batch


@given(LAUNCHES)
def test_no_visit_comes_twice_and_none_is_left_out(launches: list[Launch]) -> None:
    progress, taken = Progress(), list[int]()
    for launch in launches:
        data = Data(
            batch_clips=launch.videos * launch.clips_per_video, clips_per_video=launch.clips_per_video
        )
        optimizer = Optimizer(accumulation_steps=launch.accumulation)
        visits = visits_per_step(data, optimizer, processes=launch.processes)
        taken += sorted(positions_of(launch, progress))
        progress = progress.after(progress.step + launch.steps, visits_per_step=visits, metrics={})
    assert taken == list(range(progress.visits))


def test_without_a_position_every_step_before_counts_as_one_that_comes() -> None:
    batches = StreamBatches(first_step=3, steps=5, videos_per_batch=2, rank=1, world_size=2)
    assert list(batches) == [[14, 15], [18, 19]]
