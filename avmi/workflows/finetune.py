"""`avmi finetune`: a checkpoint and a labelled corpus → a classifier and its report."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from avmi.checkpoint import WEIGHTS_FILE, Checkpoint, find_checkpoint, load_checkpoint, load_tensors
from avmi.config.schema import FinetuneConfig
from avmi.corpus.manifest import Manifest
from avmi.data import FixedClips, Quarantine, quarantined_in, share_cores, warm_up
from avmi.distributed import on_main, other_processes, rank
from avmi.embedder import Embedder
from avmi.errors import CorpusError, UsageError
from avmi.models.encoders import Encoders
from avmi.report.plots import confusion_matrix_png
from avmi.training.classes import ClassReport, report_classes
from avmi.training.classifier import Classifier, score_clips
from avmi.training.features import features_of
from avmi.training.feed import Feed, open_corpus
from avmi.training.finetune_loop import Finetuning, finetune_steps
from avmi.training.launch import join_processes
from avmi.training.linear_probe import fit_linear_probe
from avmi.training.optimizer import build_optimizer, build_schedule
from avmi.training.runs.claim import claimed
from avmi.training.runs.resume import resumed
from avmi.training.runs.run_folder import OBJECTIVE_FILE, Trained
from avmi.training.stopping.lifeline import Lifeline
from avmi.training.stopping.preemption import StopSignals
from avmi.training.watching.evaluation import HeldOut
from avmi.training.watching.trackers import check_trackers

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class FinetuneResult:
    """The classifier's report on the test split, and where everything is."""

    run: Path
    report: ClassReport
    seconds: float
    model_hash: str  # of the checkpoint that it started from
    # Videos that hung or killed their worker twice, and how.
    quarantined: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "run": str(self.run),
            "seconds": round(self.seconds, 1),
            "model_hash": self.model_hash,
            "quarantined": dict(self.quarantined),
            **self.report.as_json(),
        }

    def as_text(self) -> str:
        """Say it in a few lines."""
        lines = [self.report.as_text(), f"confusion matrix: {self.run / 'confusion.png'}"]
        lines += [f"quarantined {path}: {reason}" for path, reason in self.quarantined.items()]
        return "\n".join(lines)


def finetune(config: FinetuneConfig, *, resume: bool = False) -> FinetuneResult:
    """Train a classifier on the encoders of a checkpoint and test it on the test split.

    The valid split chooses (the probe's penalty, or the best step); the test split is only reported.
    With `resume` a run that has begun goes on, and a finished one is read. Raises `CorpusError`
    without labels or clips, `UsageError` for a run folder in use, and `TrainingError`, `Preempted` and `ProcessLost` as
    pretraining does.
    """
    start = time.perf_counter()
    with StopSignals() as stop, other_processes():
        return _finetune(config, resume=resume, stop=stop, start_seconds=start)


def _finetune(
    config: FinetuneConfig, *, resume: bool, stop: StopSignals, start_seconds: float
) -> FinetuneResult:
    check_trackers(config.logging.trackers)
    warm_up(config.data.workers)
    manifest = open_corpus(config.corpus, config.data)
    checkpoint = load_checkpoint(config.checkpoint)
    accelerator = join_processes(
        config.optimizer, config.logging, run=config.run, some_without_gradient=False
    )
    with Lifeline(), contextlib.ExitStack() as held:
        on_main(lambda: held.enter_context(claimed(config.run, config, resume=resume)))
        if on_main((config.run / RESULTS_FILE).is_file):
            return _finished(config, checkpoint)
        if config.train == "head":
            report = _linear_probe(config, checkpoint, manifest)
        else:
            report = _full(config, checkpoint, manifest, accelerator, stop)
        seconds = time.perf_counter() - start_seconds
        quarantined = quarantined_in(config.run)
        result = FinetuneResult(config.run, report, seconds, checkpoint.model_hash, quarantined)
        on_main(lambda: _write(result))
    return result


def _finished(config: FinetuneConfig, checkpoint: Checkpoint) -> FinetuneResult:
    """Read what a finished run has found."""
    values = json.loads((config.run / RESULTS_FILE).read_text(encoding="utf-8"))
    if values["model_hash"] != checkpoint.model_hash:
        raise UsageError(
            f"{config.run} was made from model {values['model_hash']}, {config.checkpoint} is now "
            f"{checkpoint.model_hash}: choose another `run` folder"
        )
    report, quarantined = ClassReport.from_json(values), quarantined_in(config.run)
    return FinetuneResult(config.run, report, values["seconds"], checkpoint.model_hash, quarantined)


def _linear_probe(config: FinetuneConfig, checkpoint: Checkpoint, manifest: Manifest) -> ClassReport:
    checkpoint = _initialized(config, checkpoint)
    model, names = Embedder(checkpoint), manifest.labels
    train, valid, test = (
        features_of(model, manifest.split(part), names, view=config.view, workers=config.data.workers)
        for part in ("train", "valid", "test")
    )
    if train is None or test is None:
        lacking = "train" if train is None else "test"
        raise CorpusError(f"{config.corpus}: the {lacking} split has no labelled clip to classify")
    probe = fit_linear_probe(train, valid, class_names=names, seed=config.seed)
    save_file({"weight": probe.weight, "bias": probe.bias}, config.run / "probe.safetensors")
    return report_classes(
        probe.scores(test.features),
        test.classes,
        test.videos,
        class_names=names,
        trained=train.classes.unique(),
    )


def _full(
    config: FinetuneConfig,
    checkpoint: Checkpoint,
    manifest: Manifest,
    accelerator: Accelerator,
    stop: StopSignals,
) -> ClassReport:
    names = manifest.labels
    if len(names) < 2:
        raise CorpusError(
            f"{config.corpus}: a classifier needs two classes or more, the corpus has {list(names)}: "
            "put videos into one subfolder for each class, or give a table with labels"
        )
    if accelerator.device.type == "cpu":
        share_cores(config.data.workers)
    model, pretrained = Embedder(checkpoint, device="cpu"), checkpoint.config
    views = _views(config, model)
    signals = {name: model.signal(name) for name in views}
    feed = Feed(_labelled(manifest), signals, pretrained.image, pretrained.log_mel, config.data)
    quarantine = Quarantine.of_run(config.run, rank=rank())
    stream = feed.stream(pairs=[(views[0], views[-1])], seed=config.seed, quarantine=quarantine)
    plain = _classifier(config, checkpoint, views, classes=len(names)).to(accelerator.device)
    trained = _trained(config, plain, accelerator)
    begun = resumed(config, trained, stream, processes=accelerator.num_processes)
    held_out = HeldOut.decode(feed.fixed_batches(feed.fixed("valid", required=views)))
    loader = feed.batches(stream, config.optimizer, begun=begun, device=accelerator.device)
    with contextlib.closing(iter(loader)) as batches:
        parts = Finetuning(
            config=config,
            pretrained=pretrained,
            accelerator=accelerator,
            classifier=accelerator.prepare(plain),
            plain=plain,
            trained=trained,
            numbers={name: number for number, name in enumerate(names)},
            batches=batches,
            held_out=held_out,
            train=feed.manifest.split("train"),
            begun=begun,
            stop=stop,
        )
        finetune_steps(parts)
    return _test(config, parts, feed, feed.fixed("test", required=views))


def _trained(config: FinetuneConfig, plain: Classifier, accelerator: Accelerator) -> Trained:
    """Build the optimizer of a classifier, and name what checkpoints keep of it."""
    optimizer = accelerator.prepare(build_optimizer([plain], config.optimizer))
    schedule = build_schedule(optimizer, config.optimizer)
    return Trained(plain.encoders, plain.head, optimizer, schedule, scaler=accelerator.scaler)


def _classifier(
    config: FinetuneConfig, checkpoint: Checkpoint, views: Sequence[str], *, classes: int
) -> Classifier:
    """Put a fresh linear layer on the encoders; only what the views use is trained."""
    torch.manual_seed(config.seed)
    encoders = _initialized(config, checkpoint).encoders.train().requires_grad_(False)
    for view in views:
        encoders.encoder(view).backbone.requires_grad_(True)
    return Classifier(encoders, views, classes=classes)


def _views(config: FinetuneConfig, model: Embedder) -> tuple[str, ...]:
    match config.view:
        case "image":
            return (model.image_view,)
        case "audio":
            return (model.audio_view,)
        case "both":
            return model.retrieval_views


def _test(config: FinetuneConfig, parts: Finetuning, feed: Feed, clips: FixedClips) -> ClassReport:
    """Test the best checkpoint, which the valid split chose."""
    best = find_checkpoint(config.run)
    load_tensors(parts.trained.encoders, best / WEIGHTS_FILE)
    load_tensors(parts.trained.objective, best / OBJECTIVE_FILE)
    scored = score_clips(
        parts.plain,
        feed.fixed_batches(clips),
        parts.numbers,
        device=parts.accelerator.device,
    )
    if scored is None:
        raise CorpusError(f"{config.corpus}: the test split has no labelled clip to classify")
    trained = {parts.numbers[video.label] for video in parts.train}
    return report_classes(
        scored.scores,
        scored.classes,
        scored.videos,
        class_names=tuple(parts.numbers),
        trained=torch.tensor(sorted(trained)),
    )


def _initialized(config: FinetuneConfig, checkpoint: Checkpoint) -> Checkpoint:
    """Give the checkpoint as it is, or the same architecture with fresh weights."""
    if config.initialize == "checkpoint":
        return checkpoint
    settings = checkpoint.config
    torch.manual_seed(config.seed)
    fresh = Encoders(settings.views, settings.encoders.without_weights(), log_mel=checkpoint.encoders.log_mel)
    return dataclasses.replace(checkpoint, encoders=fresh.eval())


def _labelled(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, videos=tuple(v for v in manifest if v.label))


def _write(result: FinetuneResult) -> None:
    """Write the confusion matrix and then, as the mark of a finished run, the results."""
    png = confusion_matrix_png(result.report.confusion.numpy(), result.report.class_names)
    (result.run / "confusion.png").write_bytes(png)
    temporary = result.run / f"{RESULTS_FILE}.tmp"
    temporary.write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
    temporary.replace(result.run / RESULTS_FILE)
