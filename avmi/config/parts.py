"""YAML → typed settings of the parts that several verbs share: inputs, encoders, optimizer, logging."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from avmi.config.base import Settings

ImageBackbone = Literal[
    "small_conv",
    "resnet18",
    "resnet34",
    "resnet50",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "shufflenet_v2_x0_5",
    "efficientnet_b0",
    "convnext_tiny",
]
VideoBackbone = Literal["r2plus1d_18", "mc3_18", "r3d_18", "s3d"]
BackboneName = Literal[ImageBackbone, VideoBackbone]
Precision = Literal["by_device", "fp32", "bf16", "fp16"]
# Those of accelerate 1.15; older ones know fewer.
TrackerName = Literal[
    "aim",
    "clearml",
    "comet_ml",
    "dvclive",
    "mlflow",
    "swanlab",
    "tensorboard",
    "trackio",
    "wandb",
]


class ImageInput(Settings):
    """How pictures enter the encoders."""

    size_px: int = Field(default=224, ge=32, le=1024, description="Side of the square picture, in pixels.")
    fit: Literal["crop", "squash"] = Field(
        default="crop",
        description="crop keeps the aspect ratio and the middle; squash keeps the whole picture.",
    )


class LogMel(Settings):
    """Log-mel spectrogram of a mono waveform (25/10 ms Hann, as CAV-MAE and AST use)."""

    sample_rate_hz: int = Field(default=16000, ge=4000, le=96000, description="Rate after resampling, in Hz.")
    stft_window_seconds: float = Field(default=0.025, gt=0, le=0.5, description="STFT window, in seconds.")
    stft_hop_seconds: float = Field(
        default=0.010, gt=0, le=0.5, description="Distance of time bins, in seconds."
    )
    mel_bins: int = Field(default=64, ge=8, le=256, description="Mel bins.")
    f_min_hz: float = Field(default=20.0, ge=0, description="Lower edge of the mel bank, in Hz.")
    f_max_hz: float = Field(default=8000.0, gt=0, description="Upper edge of the mel bank, in Hz.")
    floor: float = Field(default=1e-6, gt=0, description="Added to the mel power before the logarithm.")

    @model_validator(mode="after")
    def _band_is_below_nyquist(self) -> "LogMel":
        if not self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"f_min_hz < f_max_hz <= sample_rate_hz / 2 must hold, got "
                f"{self.f_min_hz} < {self.f_max_hz} <= {self.sample_rate_hz / 2}"
            )
        return self

    @property
    def stft_window_samples(self) -> int:
        """STFT window in samples."""
        return round(self.stft_window_seconds * self.sample_rate_hz)

    @property
    def stft_hop_samples(self) -> int:
        """Distance of time bins in samples."""
        return round(self.stft_hop_seconds * self.sample_rate_hz)


class Backbone(Settings):
    """One encoder's backbone."""

    name: BackboneName = Field(
        default="small_conv",
        description="small_conv learns most per second on CPUs; the others are torchvision's. r2plus1d_18, "
        "mc3_18, r3d_18 and s3d are video networks, for stacks (frames of 2 or more).",
    )
    weights: Path | None = Field(
        default=None,
        description="Local state-dict file (.safetensors, or .pth of tensors only); none trains from scratch.",
    )
    width: int = Field(default=32, ge=8, le=256, description="Channels of small_conv's first layer.")
    normalization: Literal["group", "batch"] = Field(
        default="group",
        description="Of small_conv. group looks at one clip at a time, so that several processes compute what one "
        "does; batch learns faster from many clips of few scenes, and each process has its own statistics on CPUs.",
    )
    pooling: Literal["mean_max", "places"] = Field(
        default="mean_max",
        description="What small_conv keeps of its last map. mean_max: what there is, without where and when. "
        "places: a coarse grid, for what depends on place and time, such as synchrony, which pooled features "
        "lose (measured: AUC 0.50 to 0.52 within a game).",
    )
    places: tuple[Annotated[int, Field(ge=1, le=64)], Annotated[int, Field(ge=1, le=64)]] = Field(
        default=(4, 8),
        description="Grid that pooling places averages the last map to: rows and columns, of sounds frequency "
        "and time. The feature grows with it: 8 x width x rows x columns values.",
    )
    place_channels: int | None = Field(
        default=None,
        ge=1,
        le=2048,
        description="Channels of small_conv's last map with pooling places; empty: 8 x width. Fewer make its "
        "convolution, the feature and the head smaller.",
    )

    checkpoint_activations: bool = Field(
        default=False,
        description="Keep what goes from stage to stage only, and compute a stage's activations again in the backward "
        "pass: less memory for about a third more time, with the same gradients.",
    )

    @field_validator("weights", mode="before")
    @classmethod
    def _none_is_no_file(cls, value: object) -> object:
        return None if value == "none" else value

    @model_validator(mode="after")
    def _places_are_small_convs(self) -> "Backbone":
        if self.pooling == "places" and self.name != "small_conv":
            raise ValueError(f"pooling places is for small_conv only, got {self.name}; remove it")
        return self


class Head(Settings):
    """MLP from a backbone's output, or from one place of a layer, to the embedding."""

    hidden_dims: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(512,), description="Hidden widths of the MLP; [] is linear (AVID: 512-512-128)."
    )
    embedding_dim: int = Field(default=128, ge=2, le=4096, description="Length of an embedding.")
    standardize: bool = Field(
        default=False,
        description="Bring every value of the feature to mean 0 and deviation 1 over the batch (batch normalization "
        "without scale) before the head; long features (pooling places) learn several times faster with it.",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the feature's values set to zero before the head while training, against learning "
        "clips by heart; long features (pooling places) need it most.",
    )
    posterior: Literal["none", "gaussian"] = Field(
        default="none",
        description="gaussian gives every code a mean and a log sigma and trains on draws, so that what it holds of "
        "its view has upper bounds; users get the mean.",
    )
    private_dim: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="Length of a second, private part of every code, which no pair sees: what the view has and the "
        "other view has not. Needs posterior gaussian; 0 is none.",
    )

    @model_validator(mode="after")
    def _private_parts_are_gaussian(self) -> "Head":
        if self.private_dim and self.posterior == "none":
            raise ValueError(
                "private_dim needs known densities: set posterior to gaussian, or private_dim to 0"
            )
        return self


class Encoders(Settings):
    """Separate encoders per kind of view."""

    image: Backbone = Field(default=Backbone(), description="Backbone of frame views.")
    motion: Backbone | None = Field(
        default=None, description="Backbone of stacks (frames of 2 or more); empty: as image."
    )
    audio: Backbone = Field(default=Backbone(), description="Backbone of audio views.")
    head: Head = Field(
        default=Head(), description="Projection head, one for each encoder and one for each feature view."
    )

    def without_weights(self) -> "Encoders":
        """Give the same encoders without files of weights, for those that get their weights elsewhere."""
        bare = {
            name: backbone.model_copy(update={"weights": None})
            for name, backbone in (("image", self.image), ("motion", self.motion), ("audio", self.audio))
            if backbone is not None
        }
        return self.model_copy(update=bare)


class Temperature(Settings):
    """Temperature that divides cosine scores (CLIP's recipe)."""

    initial: float = Field(default=0.07, ge=0.01, le=1.0, description="Start value.")
    learned: bool = Field(default=True, description="Learned as log_temperature, kept within [0.01, 1].")


class Optimizer(Settings):
    """AdamW with warm-up and cosine decay."""

    steps: int = Field(default=1000, ge=1, description="Optimizer steps.")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="Peak learning rate.")
    final_learning_rate: float = Field(
        default=1e-6, ge=0, description="Learning rate at the last step (EquiAV: 1e-6)."
    )
    warmup_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the steps with a rising rate (EquiAV: 10 %)."
    )
    weight_decay: float = Field(
        default=1e-4, ge=0, description="Decoupled weight decay of matrices; none on biases and norms."
    )
    max_gradient_norm: float = Field(default=5.0, gt=0, description="Gradients are scaled down to this norm.")
    accumulation_steps: int = Field(
        default=1,
        ge=1,
        description="Batches of one optimizer step; the loss is the mean over them, and each has its own negatives "
        "(a large batch in little memory is chunk_clips of pretraining).",
    )
    precision: Precision = Field(
        default="by_device",
        description="by_device: bf16 on GPUs that have it, fp16 on older ones, fp32 on CPUs.",
    )


class PretrainOptimizer(Optimizer):
    """AdamW, and how a large batch is fitted into the memory of one process."""

    chunk_clips: int | None = Field(
        default=None,
        ge=2,
        description="Most clips of a batch that the encoders take at a time, where their activations would not fit; "
        "empty: all of them. Negatives still come from the whole batch of all processes, and the gradients are its own, "
        "for one more forward pass, about a third. Batch normalization sees the clips of a chunk.",
    )
    sharded: bool = Field(
        default=False,
        description="Divide AdamW's moments among the processes: of 16 bytes a weight (weight, gradient, two moments) "
        "8 fewer in each, nearly, with many processes. The steps are the same; weights are exchanged once more. One "
        "process alone takes no notice.",
    )


class Logging(Settings):
    """What the run folder records, and when."""

    log_every_steps: int = Field(default=10, ge=1, description="Steps between two scalars.")
    evaluate_every_steps: int = Field(
        default=200, ge=1, description="Steps between two evaluations on the valid split."
    )
    evaluate_clips: int = Field(
        default=256, ge=2, description="At most this many clips in an evaluation of the loop."
    )
    checkpoint_every_steps: int = Field(default=200, ge=1, description="Steps between two checkpoints.")
    keep_checkpoints: int = Field(default=2, ge=1, description="Newest checkpoints kept beside the best one.")
    trackers: tuple[TrackerName, ...] = Field(
        default=(),
        description="Experiment trackers that get every scalar, too, through accelerate; each needs its package. "
        "RUN/tensorboard and RUN/metrics.jsonl are written in any case (tensorboard here is a second copy of the "
        "scalars, with the hyperparameters).",
    )
    tracker_project: str = Field(
        default="avmi",
        min_length=1,
        description="Project, or experiment, under which trackers file the run; the run's own name is its folder's.",
    )


class PretrainLogging(Logging):
    """What the run folder records of pretraining, and when."""

    projector_clips: int = Field(
        default=256,
        ge=0,
        le=10000,  # two points each in a sprite of 8,192 px, more than which browsers refuse
        description="Held-out clips in TensorBoard's embedding projector at most, with their pictures, as of the last "
        "evaluation (8 kB a clip and view); 0 writes none.",
    )
    examples: int = Field(
        default=4,
        ge=0,
        le=32,
        description="Held-out pictures that are shown at each evaluation with the sounds that they retrieve (of 1.6 s "
        "at 16 kHz, 0.3 MB each in TensorBoard's file, every time); 0 shows none.",
    )
