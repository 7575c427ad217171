"""Prepared corpora and the presets of configs/pretrain → what each choice of views buys, at equal training time.

    python benchmarks/view_presets.py --out /tmp/presets --corpus quickstart=quickstart/corpus --corpus ucf101=CORPUS

Every preset trains for the same time on one core, decoding included: a short run measures what the first pass over
the corpus and a step after it take, and the step count follows. Each run is then measured on the test split by the very verbs that users call. One JSON
file a run; what is there is not repeated, so that a stopped study goes on. The table goes to stdout as Markdown.
"""

import argparse
import dataclasses
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "pretrain"
PRESETS = (
    "cross_modal",
    "image_sound",
    "contrastive_multiview_coding",
    "deep_infomax",
    "augmented_multiscale",
    "predictive",
    "synchrony",
)
UNTRAINED = "untrained"  # the encoders of image_sound as they are drawn
COLUMNS = {
    "recall@1": "recall@1",
    "same_label@1": "same label @1",
    "auc": "AUC within label",
    "image_probe": "image probe",
    "audio_probe": "audio probe",
}
# Steps measured after every video has been decoded once: the first pass over the corpus is slower.
STEADY_STEPS = 8
EVALUATION_CLIPS = 4  # of a video, in training's last evaluation and in the measurement


@dataclass(frozen=True)
class Run:
    """One training and its measurement."""

    corpus_name: str
    corpus: Path
    preset: str
    seed: int
    seconds: float
    out: Path

    @property
    def name(self) -> str:
        """Name of the run's folder and file."""
        return f"{self.corpus_name}-{self.preset}-{self.seed}"


def main() -> None:
    """Train and measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description="What each preset of views buys, at equal training time.")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--corpus", action="append", required=True, metavar="NAME=FOLDER[:SECONDS]")
    parser.add_argument("--presets", default=",".join((UNTRAINED, *PRESETS)))
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="seconds of training of a run, on one core"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1, help="runs at a time, one core each")
    given = parser.parse_args()
    corpora = {name: _folder_and_seconds(rest, given.seconds) for name, rest in map(_named, given.corpus)}
    (given.out / "results").mkdir(parents=True, exist_ok=True)
    runs = [
        Run(name, folder, preset, seed, seconds, given.out)
        for seed in range(given.seeds)
        for name, (folder, seconds) in corpora.items()
        for preset in given.presets.split(",")
    ]
    spawn = multiprocessing.get_context("spawn")
    # A process of its own for every run: what one leaves in memory is nothing to the next.
    with ProcessPoolExecutor(given.processes, mp_context=spawn, max_tasks_per_child=1) as pool:
        for result in pool.map(measured, runs):
            print(json.dumps(result), flush=True)
    for name in corpora:
        print(f"\n{name}\n\n{table(results_of(given.out, name))}")


def measured(run: Run) -> dict[str, Any]:
    """Train and measure one run, or read what an earlier study measured."""
    path = run.out / "results" / f"{run.name}.json"
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text())
        return kept
    import torch

    torch.set_num_threads(1)
    steps, step_seconds = _steps(run)
    begun = time.process_time()
    checkpoint = _pretrain(run, steps=steps, name=run.name)
    cpu_seconds = time.process_time() - begun
    result = {
        "corpus": run.corpus_name,
        "preset": run.preset,
        "seed": run.seed,
        "steps": steps,
        "step_seconds": round(step_seconds, 4),
        "cpu_seconds": round(cpu_seconds, 1),
        **_metrics(checkpoint, run.corpus),
    }
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result) + "\n")
    temporary.replace(path)
    return result


def _named(text: str) -> tuple[str, str]:
    name, _, rest = text.partition("=")
    return name, rest


def _folder_and_seconds(text: str, seconds: float) -> tuple[Path, float]:
    folder, _, own = text.partition(":")
    return Path(folder), float(own) if own else seconds


def _steps(run: Run) -> tuple[int, float]:
    """Choose the steps that fill the training time; a run before kept what the steps of its preset take."""
    if run.preset == UNTRAINED:
        return 1, 0.0
    kept = run.out / "results" / f"steps-{run.corpus_name}-{run.preset}.json"
    if not kept.is_file():
        kept.write_text(json.dumps(_measured_steps(run)))
    found = json.loads(kept.read_text())
    left = run.seconds - found["first_pass_seconds"]
    return found["first_pass_steps"] + max(0, round(left / found["step_seconds"])), found["step_seconds"]


def _measured_steps(run: Run) -> dict[str, float]:
    """Train through the corpus once and a little longer, and read the log's clips per second."""
    from avmi.config.load import load_config
    from avmi.config.schema import PretrainConfig
    from avmi.corpus.manifest import read_manifest
    from avmi.training.watching.log import read_metrics

    data = load_config(CONFIGS / f"{run.preset}.yaml", [], schema=PretrainConfig).data
    videos = len(read_manifest(run.corpus).split("train"))
    first_pass = -(-videos * data.clips_per_video // data.batch_clips)
    folder = _pretrain(run, steps=first_pass + STEADY_STEPS, name=f"steps-{run.name}", log_every=1)
    records = [r for r in read_metrics(folder / "metrics.jsonl") if r["kind"] == "train"]
    seconds = [data.batch_clips / record["clips_per_second"] for record in records]
    return {
        "first_pass_steps": first_pass,
        "first_pass_seconds": sum(seconds[:first_pass]),
        "step_seconds": statistics.median(seconds[first_pass:]),
    }


def _pretrain(run: Run, *, steps: int, name: str, log_every: int = 50) -> Path:
    from avmi.config.load import load_config
    from avmi.config.schema import PretrainConfig
    from avmi.workflows.pretrain import pretrain

    never = steps + 1
    folder = run.out / "runs" / name
    overrides = [
        f"corpus={run.corpus}",
        f"run={folder}",
        f"seed={run.seed}",
        "data.workers=0",
        f"data.evaluation_clips_per_video={EVALUATION_CLIPS}",
        f"logging.log_every_steps={log_every}",
        f"optimizer.steps={steps}",
        f"logging.evaluate_every_steps={never}",
        f"logging.checkpoint_every_steps={never}",
    ]
    if run.preset == UNTRAINED:
        overrides.append("optimizer.learning_rate=1e-12")
    config = CONFIGS / f"{'image_sound' if run.preset == UNTRAINED else run.preset}.yaml"
    pretrain(load_config(config, overrides, schema=PretrainConfig), resume=True)
    return folder


def _metrics(checkpoint: Path, corpus: Path) -> dict[str, float]:
    """Measure retrieval by the verb, and linear probes of both encoders on features embedded once."""
    from avmi.corpus.manifest import read_manifest
    from avmi.embedder import load
    from avmi.training.features import features_of
    from avmi.workflows.evaluate import evaluate_retrieval

    retrieval = evaluate_retrieval(checkpoint, corpus).as_json()
    model, manifest = load(checkpoint), read_manifest(corpus)
    both = [
        features_of(model, manifest.split(split), manifest.labels, view="both")
        for split in ("train", "valid", "test")
    ]
    image_dim = model.encoders.encoder(model.image_view).feature_dim
    return {
        "recall@1": retrieval["image_to_audio"]["recall@1"],
        "chance": retrieval["image_to_audio"]["chance"],
        "same_label@1": retrieval["same_label@1"],
        "auc": retrieval["within_label"]["auc"],
        "image_probe": _probe(both, manifest.labels, slice(None, image_dim)),
        "audio_probe": _probe(both, manifest.labels, slice(image_dim, None)),
    }


def _probe(both: Sequence[Any], labels: Sequence[str], columns: slice) -> float:
    """Fit on the features of train, choose the penalty on valid, and give top-1 on test."""
    from avmi.training.linear_probe import fit_linear_probe

    train, valid, test = (dataclasses.replace(f, features=f.features[:, columns]) for f in both)
    scores = fit_linear_probe(train, valid, class_names=labels).scores(test.features)
    return float((scores.argmax(dim=1) == test.classes).double().mean())


def results_of(out: Path, corpus_name: str) -> dict[str, list[dict[str, Any]]]:
    """Read the results of a corpus, by preset."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((out / "results").glob(f"{corpus_name}-*.json")):
        result = json.loads(path.read_text())
        found.setdefault(result["preset"], []).append(result)
    return found


def table(results: Mapping[str, list[dict[str, Any]]]) -> str:
    """Write a Markdown table: mean and standard deviation over the seeds."""
    lines = [f"| preset | steps | {' | '.join(COLUMNS.values())} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for preset in (UNTRAINED, *PRESETS):
        if preset in results:
            runs = results[preset]
            cells = [_mean_and_spread(run[column] for run in runs) for column in COLUMNS]
            lines.append(f"| {preset} | {runs[0]['steps']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean_and_spread(values: Iterable[float]) -> str:
    numbers = list(values)
    if len(numbers) < 2:
        return f"{numbers[0]:.3f}"
    return f"{statistics.mean(numbers):.3f} ± {statistics.stdev(numbers):.3f}"


if __name__ == "__main__":
    main()
