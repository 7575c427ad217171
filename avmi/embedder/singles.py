"""Pictures and sounds, one by one → vectors."""

from collections.abc import Iterator, Sequence
from os import PathLike

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from avmi.config.views import FrameView
from avmi.embedder.encoding import Encoding
from avmi.embedder.vectors import Output
from avmi.errors import InputError
from avmi.views.audio import LogMelSpectrogram
from avmi.views.image import image_view
from avmi.views.picture import Picture, read_picture
from avmi.views.waveform import read_waveform

Waveforms = np.ndarray | Tensor | Sequence[np.ndarray | Tensor]


def window_seconds(encoding: Encoding) -> float:
    """Length of sound that one audio embedding hears."""
    first, last = encoding.signal(encoding.audio_view).extent_seconds
    return last - first


def picture_vectors(
    encoding: Encoding, images: Sequence[Picture] | np.ndarray, *, output: Output
) -> Float[Tensor, "images dim"]:
    """Embed pictures; see `Embedder.embed_images`."""
    name, view = encoding.image_view, FrameView(kind="frame")
    settings = encoding.graph.signals[name]
    if isinstance(settings, FrameView) and settings.frames > 1:
        raise InputError(
            f"the model sees {settings.frames} pictures at a time ({name}), not one: give it videos, or use "
            "a checkpoint whose graph pairs a single picture with a sound"
        )
    tensors = (
        image_view(read_picture(image)[None], view, image=encoding.config.image, seed=0) for image in images
    )
    return encoding.run(name, tensors, output=output)


def sound_vectors(
    encoding: Encoding, waveforms: Waveforms, *, sample_rate_hz: int, output: Output
) -> Float[Tensor, "sounds dim"]:
    """Embed sounds; see `Embedder.embed_audio`."""
    sounds = [waveforms] if isinstance(waveforms, (np.ndarray, Tensor)) else list(waveforms)
    name, log_mel = encoding.audio_view, LogMelSpectrogram(encoding.config.log_mel)
    vectors = []
    for sound in sounds:
        windows = (log_mel(window) for window in _windows(encoding, sound, sample_rate_hz))
        mean = encoding.run(name, windows, output=output).mean(dim=0)
        vectors.append(mean / mean.norm() if output == "embedding" else mean)
    return torch.stack(vectors) if vectors else torch.empty(0, encoding.dim(name, output))


def _windows(encoding: Encoding, sound: np.ndarray | Tensor, sample_rate_hz: int) -> Iterator[np.ndarray]:
    rate = encoding.config.log_mel.sample_rate_hz
    mono = read_waveform(sound, sample_rate_hz=sample_rate_hz, target_rate_hz=rate)
    seconds = window_seconds(encoding)
    length = round(seconds * rate)
    if len(mono) < length:
        raise InputError(
            f"the sound lasts {len(mono) / rate:.2f} s, the model hears {seconds:g} s: give a longer one"
        )
    return (mono[i : i + length] for i in range(0, len(mono) - length + 1, length))


def refuse_single(given: object, function: str, what: str) -> None:
    """Refuse one thing in place of a list of them: a path is a sequence, too, of letters."""
    is_array = isinstance(given, np.ndarray) and given.ndim == 3
    if isinstance(given, (str, bytes, PathLike, Image.Image)) or is_array:
        raise InputError(f"{function} takes a list of {what}, got a single {type(given).__name__}: use [...]")
