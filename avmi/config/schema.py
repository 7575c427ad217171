"""YAML → the typed configuration of each verb that takes one: pretrain and finetune."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from avmi.config.address import CorpusPlace
from avmi.config.base import Settings
from avmi.config.bottleneck import Bottleneck, Private
from avmi.config.bounds import INFO_NCE, PairBound
from avmi.config.data import Data
from avmi.config.pair_settings import OTHER_VIDEOS, NegativePool, PairSettings, PlaceScoring
from avmi.config.parts import (
    Encoders,
    ImageInput,
    Logging,
    LogMel,
    Optimizer,
    PretrainLogging,
    PretrainOptimizer,
    Temperature,
)
from avmi.config.views import View

PairChoice = Literal["cross_modal", "all"]


class PretrainConfig(Settings):
    """Everything that `avmi pretrain` is told."""

    corpus: CorpusPlace = Field(
        description="Folder that `avmi prepare` or `avmi pack` wrote, or address of such shards (s3://…)."
    )
    run: Path = Field(description="Run folder to write; must be new, empty, or resumed.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Fixes weights, clip choice and augmentation.")
    views: dict[str, View] = Field(min_length=2, description="Views by name.")
    pairs: PairChoice | tuple[PairSettings, ...] = Field(
        default="cross_modal", description="View pairs: cross_modal, all, or a list."
    )
    bound: PairBound = Field(default=INFO_NCE, description="Bound on the MI of every pair.")
    places: PlaceScoring = Field(
        default="mean",
        description="Scoring over the places of feature views: mean bounds every place by itself, max and "
        "attention score a clip by its best places.",
    )
    negatives: tuple[NegativePool, ...] = Field(
        default=(OTHER_VIDEOS,),
        min_length=1,
        description="Pools that negatives come from, each a term of its own: other_videos, same_video, or both.",
    )
    image: ImageInput = Field(default=ImageInput(), description="How pictures enter.")
    log_mel: LogMel = Field(default=LogMel(), description="How sound enters.")
    encoders: Encoders = Field(default=Encoders(), description="Backbones and heads.")
    temperature: Temperature = Field(default=Temperature(), description="Scale of the scores.")
    bottleneck: Bottleneck | None = Field(
        default=None,
        description="Upper bound on what codes hold of their views, minimized; needs encoders.head.posterior.",
    )
    private: Private = Field(
        default=Private(), description="Private parts of codes, where encoders.head.private_dim makes some."
    )
    data: Data = Field(default=Data(), description="Clips, batches, decoding.")
    optimizer: PretrainOptimizer = Field(
        default=PretrainOptimizer(),
        description="AdamW, its schedule, and how batches are fitted into memory.",
    )
    logging: PretrainLogging = Field(
        default=PretrainLogging(), description="Scalars, evaluations, checkpoints, what is shown."
    )


class FinetuneConfig(Settings):
    """Everything that `avmi finetune` is told."""

    checkpoint: Path = Field(description="Checkpoint or run folder of `avmi pretrain`.")
    corpus: CorpusPlace = Field(
        description="Folder that `avmi prepare` or `avmi pack` wrote, with labels, or address of such shards (s3://…)."
    )
    run: Path = Field(description="Run folder to write; must be new, empty, or resumed.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Fixes the head's weights and clip choice.")
    view: Literal["image", "audio", "both"] = Field(
        default="both", description="Encoder or encoders that classify; both joins their features."
    )
    train: Literal["head", "all"] = Field(
        default="all",
        description="head: linear probe on frozen features; all: full fine-tuning of the encoder too.",
    )
    initialize: Literal["checkpoint", "random"] = Field(
        default="checkpoint", description="random trains the same architecture from scratch."
    )
    data: Data = Field(default=Data(), description="Clips, batches, decoding.")
    optimizer: Optimizer = Field(
        default=Optimizer(steps=300, learning_rate=3e-4), description="AdamW and its schedule."
    )
    logging: Logging = Field(default=Logging(), description="Scalars, evaluations, checkpoints.")
