"""`avmi finetune`: a checkpoint and a labelled corpus → a classifier and its report."""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from avmi.checkpoint import WEIGHTS_FILE, Checkpoint, find_checkpoint, load_checkpoint, load_tensors
from avmi.config.schema import FinetuneConfig
from avmi.corpus.manifest import Manifest, read_manifest
from avmi.corpus.plan import evaluation_clips
from avmi.data import (
    Cutter,
    FixedClips,
    StreamBatches,
    TrainingStream,
    fixed_loader,
    share_cores,
    training_loader,
)
from avmi.decode.choose import choose_decoder
from avmi.distributed import rank, world_size
from avmi.embedder import Embedder
from avmi.errors import CorpusError
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.report.plots import confusion_matrix_png
from avmi.training.classes import ClassReport, report_classes
from avmi.training.classifier import Classifier, score_clips
from avmi.training.evaluation import HeldOut
from avmi.training.features import features_of
from avmi.training.finetune_loop import Finetuning, finetune_steps
from avmi.training.linear_probe import fit_linear_probe
from avmi.training.optimizer import build_optimizer, build_schedule, mixed_precision
from avmi.training.run_folder import OBJECTIVE_FILE, Trained, claim, restore
from avmi.types import Split
from avmi.views.make import ViewMaker

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class FinetuneResult:
    """The classifier's report on the test split, and where everything is."""

    run: Path
    report: ClassReport
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {"run": str(self.run), "seconds": round(self.seconds, 1), **self.report.as_json()}

    def as_text(self) -> str:
        """Say it in a few lines."""
        return f"{self.report.as_text()}\nconfusion matrix: {self.run / 'confusion.png'}"


def finetune(config: FinetuneConfig, *, resume: bool = False) -> FinetuneResult:
    """Train a classifier on the encoders of a checkpoint and test it on the test split.

    The valid split chooses (the probe's penalty, or the best step); the test split is only reported.
    With `resume` a run that has begun goes on, and a finished one is read. Raises `CorpusError`
    without labels or clips, `UsageError` for a run folder in use.
    """
    start = time.perf_counter()
    manifest = read_manifest(config.corpus)
    checkpoint = load_checkpoint(config.checkpoint)
    accelerator = Accelerator(
        mixed_precision=mixed_precision(config.optimizer.precision),
        gradient_accumulation_steps=config.optimizer.accumulation_steps,
    )
    if accelerator.is_main_process:
        claim(config.run, config, resume=resume)
    accelerator.wait_for_everyone()
    finished = config.run / RESULTS_FILE
    if finished.is_file():
        values = json.loads(finished.read_text(encoding="utf-8"))
        return FinetuneResult(config.run, ClassReport.from_json(values), values["seconds"])
    if config.train == "head":
        report = _linear_probe(config, checkpoint, manifest)
    else:
        report = _full(config, checkpoint, manifest, accelerator)
    result = FinetuneResult(config.run, report, time.perf_counter() - start)
    if accelerator.is_main_process:
        _write(result)
    accelerator.wait_for_everyone()
    return result


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
    config: FinetuneConfig, checkpoint: Checkpoint, manifest: Manifest, accelerator: Accelerator
) -> ClassReport:
    names = manifest.labels
    if len(names) < 2:
        raise CorpusError(
            f"{config.corpus}: a classifier needs two classes or more, the corpus has {list(names)}: "
            "put videos into one subfolder for each class, or give a table with labels"
        )
    if accelerator.device.type == "cpu":
        share_cores(config.data.workers)
    numbers = {name: number for number, name in enumerate(names)}
    data = _LabelledData(config, Embedder(checkpoint, device="cpu"), _labelled(manifest))
    torch.manual_seed(config.seed)
    encoders = _initialized(config, checkpoint).encoders.train().to(accelerator.device)
    for name in set(encoders.by_name) - {encoders.encoder_of[view] for view in data.views}:
        encoders.by_name[name].requires_grad_(False)
    plain = Classifier(encoders, data.views, classes=len(names)).to(accelerator.device)
    for encoder in encoders.by_name.values():
        encoder.get_submodule("head").requires_grad_(False)
    optimizer = accelerator.prepare(build_optimizer([plain], config.optimizer))
    trained = Trained(encoders, plain.head, optimizer, build_schedule(optimizer, config.optimizer))
    first_step = restore(config.run, trained)
    parts = Finetuning(
        config=config,
        pretrained=checkpoint.config,
        accelerator=accelerator,
        classifier=accelerator.prepare(plain),
        plain=plain,
        trained=trained,
        numbers=numbers,
        batches=iter(training_loader(*data.training(first_step), workers=config.data.workers)),
        held_out=HeldOut.decode(fixed_loader(data.fixed("valid"), workers=0)),
        train=data.manifest.split("train"),
    )
    finetune_steps(parts, first_step=first_step)
    return _test(config, parts, data)


@dataclass(frozen=True)
class _LabelledData:
    """Labelled clips of the splits, with the views that the classifier takes."""

    config: FinetuneConfig
    model: Embedder
    manifest: Manifest

    @property
    def views(self) -> tuple[str, ...]:
        match self.config.view:
            case "image":
                return (self.model.image_view,)
            case "audio":
                return (self.model.audio_view,)
            case "both":
                return self.model.retrieval_views

    def cutter(self, manifest: Manifest) -> Cutter:
        pretrained, data = self.model.config, self.config.data
        maker = ViewMaker(
            {name: self.model.signal(name) for name in self.views},
            image=pretrained.image,
            log_mel=pretrained.log_mel,
        )
        return Cutter(manifest, maker, choose_decoder(data.decoder, fallback=data.decoder_fallback))

    def training(self, first_step: int) -> tuple[TrainingStream, StreamBatches]:
        data, settings = self.config.data, self.config.optimizer
        stream = TrainingStream(
            self.cutter(self.manifest.split("train")),
            pairs=[(self.views[0], self.views[-1])],
            clips_per_video=data.clips_per_video,
            seed=self.config.seed,
        )
        batches = StreamBatches(
            first_step=first_step * settings.accumulation_steps,
            steps=settings.steps * settings.accumulation_steps,
            videos_per_batch=data.batch_clips // data.clips_per_video,
            rank=rank(),
            world_size=world_size(),
        )
        return stream, batches

    def fixed(self, split: Split) -> FixedClips:
        """Choose this process's share of a split's evenly spread clips."""
        data, cutter = self.config.data, self.cutter(self.manifest.split(split))
        specs = evaluation_clips(
            cutter.manifest,
            cutter.maker.views,
            required=self.views,
            hop_seconds=data.evaluation_hop_seconds,
            most_per_video=data.evaluation_clips_per_video,
        )
        return FixedClips(cutter, specs[rank() :: world_size()])


def _test(config: FinetuneConfig, parts: Finetuning, data: _LabelledData) -> ClassReport:
    """Test the best checkpoint, which the valid split chose."""
    best = find_checkpoint(config.run)
    load_tensors(parts.trained.encoders, best / WEIGHTS_FILE)
    load_tensors(parts.trained.objective, best / OBJECTIVE_FILE)
    scored = score_clips(
        parts.plain,
        fixed_loader(data.fixed("test"), workers=config.data.workers),
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
    buffers = dict(checkpoint.encoders.named_buffers())
    mean, std = (buffers.get(f"by_name.audio.{name}", torch.zeros(1)) for name in ("mean", "std"))
    torch.manual_seed(config.seed)
    fresh = Encoders(
        settings.views,
        settings.encoders,
        log_mel=LogMelStatistics(float(mean), float(std) or 1.0),
    )
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
