"""Waveforms and spectrograms → PNG pictures on plates of their own colour."""

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from avmi.config.parts import LogMel
from avmi.decode.clip import Waveform
from avmi.report.figures import (
    NIGHT,
    new_figure,
    no_ticks,
    png,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The range below the loudest bin that is coloured; librosa's own choice, too.
_RANGE_DB = 80.0
# Where nothing is louder than this the whole picture stays dark: hiss is not blown up to a storm.
_QUIET_POWER_DB = -30.0
# A log-mel that rises less above its floor stays dark, too: e⁷ in power are 30 dB.
_LEAST_RANGE_NATS = 7.0


def spectrogram_png(
    waveform: Waveform, *, size_inches: tuple[float, float] = (2.4, 1.15), mel_bins: int = 64
) -> bytes:
    """Draw the log-mel spectrogram of a sound, with the seconds of its video below."""
    import librosa
    from librosa.display import specshow

    rate, samples = waveform.sample_rate_hz, waveform.samples
    window = min(_power_of_two(0.032 * rate), max(16, len(samples)))
    hop = max(1, min(window // 4, len(samples) // 200))  # about as many columns as the picture has
    power = librosa.feature.melspectrogram(
        y=np.pad(samples, (0, max(0, window - len(samples)))),
        sr=rate,
        n_fft=window,
        hop_length=hop,
        n_mels=min(mel_bins, window // 4),
        fmax=rate / 2,
    )
    reference = max(float(power.max(initial=0.0)), 10 ** (_QUIET_POWER_DB / 10))
    decibels = librosa.power_to_db(power, ref=reference, top_db=None).clip(-_RANGE_DB, 0)
    times = waveform.start_seconds + np.arange(decibels.shape[1]) * hop / rate
    with new_figure(size_inches, paper=NIGHT) as (figure, axes):
        specshow(
            decibels,
            x_coords=times,
            sr=rate,
            hop_length=hop,
            y_axis="mel",
            fmax=rate / 2,
            vmin=-_RANGE_DB,
            vmax=0,
            cmap="magma",
            ax=axes,
        )
        _on_night(axes, waveform.start_seconds, waveform.end_seconds)
        ticks = [hz for hz in (250, 1000, 4000, 16000) if hz < rate / 2 * 0.9]
        axes.set_yticks(ticks, [f"{hz / 1000:g}k" if hz >= 1000 else str(hz) for hz in ticks])
        axes.yaxis.set_minor_locator(no_ticks())
        axes.set_ylabel("Hz", labelpad=1)
        return png(figure)


def log_mel_png(
    log_mel: Float[np.ndarray, "mel_bins time_bins"],
    settings: LogMel,
    *,
    start_seconds: float,
    size_inches: tuple[float, float] = (2.4, 1.15),
) -> bytes:
    """Draw a log-mel spectrogram as encoders take it, bin by bin; black is the settings' floor."""
    bins, columns = log_mel.shape
    spread = (columns - 1) * settings.stft_hop_seconds + settings.stft_window_seconds
    end = start_seconds + spread
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (settings.f_min_hz, settings.f_max_hz))
    floor = math.log(settings.floor)
    with new_figure(size_inches, paper=NIGHT) as (figure, axes):
        axes.imshow(
            log_mel,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            extent=(start_seconds, end, 0, bins),
            vmin=floor,
            vmax=max(float(log_mel.max(initial=floor)), floor + _LEAST_RANGE_NATS),
            cmap="magma",
        )
        _on_night(axes, start_seconds, end)
        ticks = [hz for hz in (250, 1000, 4000, 16000) if settings.f_min_hz < hz < settings.f_max_hz * 0.9]
        # Bin i has its centre at step i + 1 of the HTK mel scale, and stands between i and i + 1.
        steps = [(2595 * math.log10(1 + hz / 700) - low) / (high - low) * (bins + 1) - 0.5 for hz in ticks]
        axes.set_yticks(steps, [f"{hz / 1000:g}k" if hz >= 1000 else str(hz) for hz in ticks])
        axes.set_ylabel("Hz", labelpad=1)
        return png(figure)


def log_mel_pixels(
    log_mel: Float[np.ndarray, "mel_bins time_bins"], settings: LogMel, *, width_px: int, height_px: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Colour the same without axes, in a hundredth of the time."""
    from matplotlib import colormaps

    low = math.log(settings.floor)
    high = max(float(log_mel.max(initial=low)), low + _LEAST_RANGE_NATS)
    shades = np.round((log_mel[::-1] - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
    scaled = Image.fromarray(shades).resize((width_px, height_px), Image.Resampling.BILINEAR)
    coloured = np.asarray(colormaps["magma"](np.asarray(scaled), bytes=True))
    return coloured[:, :, :3]


def waveform_png(waveform: Waveform, *, size_inches: tuple[float, float] = (2.4, 0.7)) -> bytes:
    """Draw the envelope of a sound, with the seconds of its video below."""
    samples = waveform.samples
    columns = np.array_split(samples, max(1, min(400, len(samples))))
    low = np.array([part.min(initial=0.0) for part in columns])
    high = np.array([part.max(initial=0.0) for part in columns])
    times = np.linspace(waveform.start_seconds, waveform.end_seconds, len(columns))
    with new_figure(size_inches, paper=NIGHT) as (figure, axes):
        axes.fill_between(times, low, high, color="#fb8861", linewidth=0.4)
        peak = max(0.05, float(np.abs(samples).max(initial=0.0)))
        axes.set_ylim(-1.05 * peak, 1.05 * peak)
        _on_night(axes, waveform.start_seconds, waveform.end_seconds)
        axes.set_yticks([])
        return png(figure)


def _on_night(axes: "Axes", start_seconds: float, end_seconds: float) -> None:
    axes.set_xlim(start_seconds, max(end_seconds, start_seconds + 1e-3))
    axes.xaxis.set_major_locator(whole_ticks())
    axes.xaxis.set_major_formatter("{x:g} s")
    axes.set_xlabel("")
    for label in axes.get_xticklabels():
        label.set_parse_math(False)


def _power_of_two(samples: float) -> int:
    return 1 << max(4, round(math.log2(max(16.0, samples))))
