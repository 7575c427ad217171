"""Videos → clips a second that one and two decoding workers load, ours beside torch's DataLoader on the same stream.

`python -m benchmarks.media.loader [--folder DIR] [--corpus CORPUS] [--json]`: on the 340 × 256 material, or on a prepared
corpus. A visit is one video, opened once for a picture at 224 px and 1.28 s of sound of each of three moments. Wall time
is what counts here, so the machine must be idle; the ways run in turns, and the load beside them is printed. The
consumer takes batches and reads their bytes once, as a copy to a model's device would; starting and the first two
batches are outside of the time. Both load four batches ahead. CPU seconds are those of the workers and of this
process. The limit is what two cores could do if decoding in this process were all that there is.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch.utils.data import DataLoader

import avmi
from avmi.config.parts import ImageInput, LogMel
from avmi.config.views import AudioView, FrameView
from avmi.corpus.manifest import Manifest, read_manifest
from avmi.data import Batch, Cutter, Limits, StreamBatches, TrainingStream, collate, training_loader, warm_up
from avmi.decode.choose import choose_decoder
from avmi.views.make import ViewMaker
from benchmarks.media.material import folder_of_arguments, material

REPEATS = 5
BATCHES = 24
FIRST = 2  # batches before the clock starts
PREFETCHED = 4  # batches of all workers together
VIDEOS_PER_BATCH = 8
CLIPS_PER_VIDEO = 3
VIEWS = {"image": FrameView(kind="frame"), "sound": AudioView(kind="audio", window_seconds=1.28)}


@dataclass(frozen=True)
class Turn:
    """One measurement: visits in wall seconds, and the CPU seconds of all processes that took part."""

    visits: int
    wall_seconds: float
    cpu_seconds: float

    @property
    def visits_per_second(self) -> float:
        return self.visits / self.wall_seconds


def stream_of(manifest: Manifest) -> TrainingStream:
    maker = ViewMaker(VIEWS, image=ImageInput(), log_mel=LogMel(mel_bins=128))
    decoder = choose_decoder("pyav", corpus=manifest.corpus)
    cutter = Cutter(manifest, maker, decoder)
    return TrainingStream(cutter, pairs=[("image", "sound")], clips_per_video=CLIPS_PER_VIDEO, seed=0)


def order(batches: int) -> StreamBatches:
    return StreamBatches(first_step=0, steps=batches, videos_per_batch=VIDEOS_PER_BATCH, rank=0, world_size=1)


def ours(manifest: Manifest, workers: int) -> Iterable[Batch]:
    limits = Limits(prefetch_batches=PREFETCHED)
    return training_loader(stream_of(manifest), order(FIRST + BATCHES), workers=workers, limits=limits)


def torchs(manifest: Manifest, workers: int) -> Iterable[Batch]:
    return DataLoader(
        stream_of(manifest),
        batch_sampler=order(FIRST + BATCHES),
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=_one_thread,
        multiprocessing_context="forkserver",
        prefetch_factor=PREFETCHED // workers,
    )


def measure(loader: Iterable[Batch]) -> Turn:
    batches = iter(loader)
    for _ in range(FIRST):
        next(batches)
    taking = [*psutil.Process().children(recursive=True), psutil.Process()]
    cpu, begun = _cpu_seconds(taking), time.perf_counter()
    # The last batches are left out: workers that have nothing left to do end, and their CPU time with them.
    taken = [_read(next(batches)) for _ in range(BATCHES - 8)]
    seconds = time.perf_counter() - begun
    cpu = _cpu_seconds(taking) - cpu
    if any(batch.rejects for batch in taken):
        raise RuntimeError(f"a video was replaced: {taken[0].rejects}")
    del batches
    return Turn(len(taken) * VIDEOS_PER_BATCH, seconds, cpu)


def cpu_seconds_of_a_visit(manifest: Manifest) -> float:
    stream = stream_of(manifest)
    for position in range(8):
        stream[position]
    begun = time.process_time()
    for position in range(8, 72):
        stream[position]
    return (time.process_time() - begun) / 64


def compare(name: str, manifest: Manifest) -> dict[str, object]:
    ways: dict[str, Callable[[], Turn]] = {
        f"{who}, {workers} worker{'s' * (workers > 1)}": lambda load=load, workers=workers: measure(
            load(manifest, workers)
        )
        for who, load in (("ours", ours), ("torch", torchs))
        for workers in (1, 2)
    }
    for way in ways.values():
        way()
    turns: dict[str, list[Turn]] = {way: [] for way in ways}
    names, loads = list(ways), []
    for repeat in range(REPEATS):
        for way in names[repeat % 4 :] + names[: repeat % 4]:
            loads.append(os.getloadavg()[0])
            turns[way].append(ways[way]())
    one, two = turns["ours, 1 worker"], turns["ours, 2 workers"]
    return {
        "material": name,
        "visits_per_second": {
            way: _spread([t.visits_per_second for t in found]) for way, found in turns.items()
        },
        "cpu_ms_of_a_visit": {
            way: _spread([1e3 * t.cpu_seconds / t.visits for t in found]) for way, found in turns.items()
        },
        "ours_two_over_one": _ratio(two, one),
        "torch_two_over_one": _ratio(turns["torch, 2 workers"], turns["torch, 1 worker"]),
        "ours_over_torch_one": _ratio(one, turns["torch, 1 worker"]),
        "ours_over_torch_two": _ratio(two, turns["torch, 2 workers"]),
        "limit_visits_per_second_of_two_cores": 2 / cpu_seconds_of_a_visit(manifest),
        "load_average": [min(loads), max(loads)],
    }


def _read(batch: Batch) -> Batch:
    for view in batch.views.values():
        view.clone()
    return batch


def _ratio(one: list[Turn], other: list[Turn]) -> list[float]:
    """Give median, least and most of the ratio of the rates, turn by turn."""
    return _spread([a.visits_per_second / b.visits_per_second for a, b in zip(one, other, strict=True)])


def _spread(values: list[float]) -> list[float]:
    return [round(v, 3) for v in (statistics.median(values), min(values), max(values))]


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    seconds = 0.0
    for process in processes:
        times = process.cpu_times()
        seconds += times.user + times.system
    return seconds


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def corpora() -> dict[str, Manifest]:
    arguments = sys.argv[1:]
    if "--corpus" in arguments:
        corpus = Path(arguments[arguments.index("--corpus") + 1])
        return {corpus.name: read_manifest(corpus)}
    found = {}
    for name, path in material(folder_of_arguments()).items():
        if name.startswith("340x256"):
            folder = Path(tempfile.mkdtemp())
            (folder / "videos").mkdir()
            (folder / "videos" / path.name).symlink_to(path)  # visited again and again, at other seconds
            avmi.prepare(folder / "videos", out=folder / "corpus")
            found[name] = read_manifest(folder / "corpus")
    return found


def main() -> None:
    torch.set_num_threads(1)
    warm_up(2)
    results = [compare(name, manifest) for name, manifest in corpora().items()]
    if "--json" in sys.argv[1:]:
        print(json.dumps(results, indent=1))
        return
    for result in results:
        print("\n".join(f"{key}: {value}" for key, value in result.items()), end="\n\n")


if __name__ == "__main__":
    main()
