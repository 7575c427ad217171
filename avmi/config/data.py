"""YAML → how clips are cut, batched and decoded."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from avmi.config.base import Settings
from avmi.types import Finding

DecoderName = Literal["pyav", "decord", "torchcodec"]


class Data(Settings):
    """How clips are cut, batched and decoded."""

    batch_clips: int = Field(
        default=64, ge=2, description="Clips in a batch of one process; negatives come from all processes."
    )
    clips_per_video: int = Field(
        default=1,
        ge=1,
        description="Clips cut from each video of a batch in one visit; one open serves all of them.",
    )
    workers: int = Field(
        default=1,
        ge=0,
        le=256,
        description="Decoding processes for each training process; 0 decodes in the loop.",
    )
    decoder: DecoderName = Field(
        default="pyav",
        description="pyav is exact everywhere; decord reads only files that prepare proved exact for it; torchcodec "
        "(the extra avmi[torchcodec] and FFmpeg's libraries on the system) only containers in which it is exact.",
    )
    decoder_fallback: DecoderName | None = Field(
        default=None,
        description="Decoder for files that the first one refuses; logged and counted. Empty refuses them.",
    )
    exclude: tuple[Finding, ...] = Field(
        default=(),
        description="Findings of the corpus audit whose videos are left out, in every split: silent, still, short, "
        "offset, length_mismatch, near_duplicate.",
    )
    memory_gigabytes: float = Field(
        default=0.0,
        ge=0,
        le=10000,
        description="Decoded videos (pyav, at most 60 s long) that each worker keeps in memory, in gigabytes, so "
        "that it decodes them once; the first that fit are kept. 0 keeps none.",
    )
    time_limit_seconds: float = Field(
        default=60.0,
        gt=0,
        le=86400,
        description="Longest time that a worker may take for the clips of one video, in seconds; a video that takes "
        "longer is replaced, and after the second time drawn no more. Clips of short files take 0.05, whole sounds of "
        "films tens of seconds, and a network disk may stall for 30. Without workers there is no limit.",
    )
    prefetch_batches: int = Field(
        default=4,
        ge=1,
        le=1000,
        description="Batches that workers decode ahead of the loop: enough for a few slow videos in a row.",
    )
    prefetch_gigabytes: float = Field(
        default=2.0,
        gt=0,
        le=10000,
        description="Most memory of the batches that are decoded ahead, in gigabytes; one is always made.",
    )
    worker_memory_gigabytes: float = Field(
        default=4.0,
        gt=0,
        le=10000,
        description="Memory beyond which a worker is replaced between two visits, in gigabytes, on top of "
        "memory_gigabytes: decoders leak. One starts with 0.8, nearly all of it shared with the others; a visit to "
        "a 4K video takes about 1.",
    )
    shard_cache: Path | None = Field(
        default=None,
        description="Folder for shards that are fetched from an address such as s3://bucket/shards; empty: "
        "$AVMI_CACHE, else avmi in the user's cache folder. Use a local disk.",
    )
    shard_cache_gigabytes: float = Field(
        default=20.0,
        gt=0,
        le=1000000,
        description="Most that fetched shards take of the disk, in gigabytes; those unused for longest go first.",
    )
    shards_at_a_time: int = Field(
        default=8,
        ge=1,
        le=10000,
        description="Shards of an address whose videos are mixed in training; all of them twice must fit into the "
        "cache. More mix better, fewer need less disk.",
    )
    evaluation_hop_seconds: float = Field(
        default=1.0, gt=0, description="Distance of evaluation clips in a video, in seconds."
    )
    evaluation_clips_per_video: int = Field(
        default=8, ge=1, description="Evaluation clips of one video, spread evenly."
    )

    @model_validator(mode="after")
    def _whole_videos(self) -> "Data":
        if self.batch_clips % self.clips_per_video:
            raise ValueError(
                f"batch_clips ({self.batch_clips}) must be a multiple of clips_per_video ({self.clips_per_video})"
            )
        return self
