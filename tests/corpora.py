"""Labels, colours and tones → a tiny labelled corpus on disk, and a configuration that trains on it in seconds.

Import as `from corpora import ...`, or use the fixtures `tiny_corpus` and `tiny_config` of `conftest.py`.

- `make_corpus`: writes clips, probes them and writes the manifest; returns the corpus folder.
- `tiny_config`: a `PretrainConfig` of a few steps and small networks; nested changes are merged in.
- `probed`: one video file → its `Video` row; `video_row`: a row of a file that need not exist.
- `untrained_checkpoint`: a configuration → a checkpoint folder with fresh weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rows
import torch
from making import make_clip

from avmi.checkpoint import save_checkpoint
from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import Reject, Video, video_of, write_manifest, write_table
from avmi.decode.probe import probe
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.types import Split

# Each label has a colour and a tone of its own: what is seen tells what is heard.
LABELS: dict[str, tuple[tuple[int, int, int], float]] = {
    "blue": ((40, 70, 220), 300.0),
    "green": ((40, 200, 60), 800.0),
    "red": ((220, 50, 40), 2000.0),
}
SPLIT_OF_CLIP: tuple[Split, ...] = ("train", "train", "train", "valid", "test")


def probed(path: Path, *, root: Path, label: str = "", split: Split = "test") -> Video:
    """Probe a file in this process and give the manifest's row, its path relative to `root`."""
    facts = probe(path)
    return video_of(facts, str(path.relative_to(root)), label=label, split=split)


def make_corpus(
    folder: Path,
    *,
    labels: Sequence[str] = tuple(LABELS),
    splits: Sequence[Split] = SPLIT_OF_CLIP,
    seconds: float = 3.0,
) -> Path:
    """Write `videos/<label>/<n>.mp4`, n-th clip in the n-th split, and `corpus/manifest.parquet`.

    Clips of a label differ a little in colour, tone, loudness and length, so that no two are alike.
    Returns the corpus folder.
    """
    root, corpus = folder / "videos", folder / "corpus"
    corpus.mkdir(parents=True)
    videos = []
    for label in labels:
        colour, tone_hz = LABELS[label]
        (root / label).mkdir(parents=True)
        for number, split in enumerate(splits):
            path = make_clip(
                root / label / f"{number}.mp4",
                seconds=seconds + number / 12,
                colour=(colour[0] - 5 * number, colour[1] + 5 * number, colour[2] - 4 * number),
                tone_hz=tone_hz * (1 + 0.03 * number),
                loudness=0.3 + 0.05 * number,
            )
            videos.append(probed(path, root=root, label=label, split=split))
    write_manifest(corpus, videos, root=root)
    write_table(corpus / "rejects.parquet", (), row_type=Reject)
    return corpus


def tiny_config(corpus: Path, run: Path, **changes: Any) -> PretrainConfig:
    """Give a configuration of four quick steps: one picture, one sound of a second, small networks.

    `changes` are fields of `PretrainConfig`; a group given as a dict changes only the keys in it
    (`optimizer={"steps": 9}`), except for `views`, which are replaced as a whole.
    """
    settings: dict[str, Any] = {
        "corpus": corpus,
        "run": run,
        "views": {
            "image": {"kind": "frame", "at_seconds": 0.5},
            "sound": {"kind": "audio", "at_seconds": 0.0, "window_seconds": 1.0},
        },
        "image": {"size_px": 32, "fit": "squash"},
        "log_mel": {"mel_bins": 16},
        "encoders": {
            "image": {"name": "small_conv", "width": 8},
            "audio": {"name": "small_conv", "width": 8},
            "head": {"hidden_dims": (24,), "embedding_dim": 12},
        },
        "data": {"batch_clips": 6, "workers": 0, "evaluation_clips_per_video": 2},
        "optimizer": {"steps": 4, "learning_rate": 3e-3},
        "logging": {
            "log_every_steps": 1,
            "evaluate_every_steps": 2,
            "checkpoint_every_steps": 2,
            "examples": 0,  # what is shown has tests of its own
            "projector_clips": 0,
        },
    }
    for key, value in changes.items():
        merges = isinstance(value, dict) and key in settings and key != "views"
        settings[key] = {**settings[key], **value} if merges else value
    return PretrainConfig.model_validate(settings)


def untrained_checkpoint(folder: Path, config: PretrainConfig, *, seed: int = 0) -> Path:
    """Save a checkpoint of encoders with fresh weights and plausible log-mel statistics."""
    torch.manual_seed(seed)
    encoders = Encoders(config.views, config.encoders, log_mel=LogMelStatistics(-6.0, 3.0))
    save_checkpoint(folder, encoders, config=config, step=7, metrics={"bound_nats": 0.5}, train_videos=["v1"])
    return folder


def video_row(path: str = "a.mp4", **changes: Any) -> Video:
    """Give a row as `prepare` would write it for one of this module's clips, four seconds long."""
    row: dict[str, Any] = {
        "video_id": f"id-of-{path}",
        "width_px": 96,
        "height_px": 64,
        "sample_rate_hz": 16000,
        "channels": 1,
    }
    return rows.video_row(path, **{**row, **changes})
