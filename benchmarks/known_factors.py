"""Known factors → pictures of a shape and spectrograms of a sound; codes and their factors → MIG, DCI, R².

Factors are independent and uniform on [0, 1]. MIG is that of Chen et al. 2018 (arXiv 1802.04942), DCI that of Eastwood &
Williams 2018; both are computed on the means of the codes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import mutual_info_score
from torch import Tensor

PICTURE_FACTORS = ("x", "y", "size", "colour")
SOUND_FACTORS = ("loudness", "pitch", "rhythm")
# What both views show: the larger the louder, the redder the higher.
SHARED = {"size": "loudness", "colour": "pitch"}
PICTURE_PX = 16
BANDS, TIME_BINS = 24, 32
NOISE = 0.02
MEAN, DEVIATION = 0.2, 0.25  # about those of all values of both views
BINS = 20  # of codes and of factors, for MIG
TREES, DEPTH = 40, 10


@dataclass(frozen=True)
class Moments:
    """Pictures and sounds of the same moments, flat, and the factors that they were made from."""

    pictures: Tensor
    sounds: Tensor
    factors: dict[str, Tensor]

    def some(self, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw pictures and sounds of different moments."""
        chosen = torch.randperm(len(self.pictures), generator=generator)[:rows]
        return self.pictures[chosen], self.sounds[chosen]


def moments(rows: int, generator: torch.Generator) -> Moments:
    """Draw factors and make both views of them."""
    names = (*PICTURE_FACTORS, "rhythm")
    factors = dict(zip(names, torch.rand(len(names), rows, generator=generator), strict=True))
    factors |= {heard: factors[seen] for seen, heard in SHARED.items()}
    clean = pictures(factors), sounds(factors)
    noisy = [view + NOISE * torch.randn(view.shape, generator=generator) for view in clean]
    return Moments(*((view - MEAN) / DEVIATION for view in noisy), factors)


def pictures(factors: Mapping[str, Tensor]) -> Tensor:
    """Draw a soft disc: its centre, radius (1.5 to 4 px) and colour (blue to red)."""
    grid = torch.arange(PICTURE_PX) + 0.5
    x, y = (PICTURE_PX * (0.25 + 0.5 * factors[name][:, None, None]) for name in ("x", "y"))
    radius = 1.5 + 2.5 * factors["size"][:, None, None]
    distance = ((grid - x).square() + (grid[:, None] - y).square()).sqrt()
    inside = torch.sigmoid(2 * (radius - distance))
    colour = factors["colour"]
    rgb = torch.stack([colour, torch.full_like(colour, 0.4), 1 - colour], dim=1)
    return (rgb[:, :, None, None] * inside[:, None]).flatten(1)


def sounds(factors: Mapping[str, Tensor]) -> Tensor:
    """Draw the spectrogram of a tone with two overtones, beating: log amplitude, about 0 to 1."""
    bands = torch.arange(BANDS)[:, None]
    base = 2 + 8 * factors["pitch"][:, None, None]
    # Overtones stand a fixed distance above on a logarithmic axis of five bands an octave.
    tones = [torch.exp(-(bands - base - 5 * math.log2(n)).square() / 2) / n for n in (1, 2, 3)]
    seconds = torch.linspace(0, 1, TIME_BINS)
    beats = 1 + 3 * factors["rhythm"][:, None, None]
    envelope = (1 + torch.cos(2 * math.pi * beats * seconds)) / 2
    amplitude = (
        sum(tones, torch.zeros(())) * envelope * 10 ** (1.5 * (factors["loudness"][:, None, None] - 1))
    )
    return (1 + torch.log10(amplitude + 0.003) / 2.5).flatten(1)


def mig(codes: Tensor, factors: Mapping[str, Tensor]) -> float:
    """Give the mean over factors of (largest − second largest I(code; factor)) / H(factor), all in bins."""
    binned = [_binned(code.numpy()) for code in codes.T]
    gaps = []
    for factor in factors.values():
        known = np.minimum((factor.numpy() * BINS).astype(int), BINS - 1)
        informations = sorted(mutual_info_score(known, code) for code in binned)
        gaps.append((informations[-1] - informations[-2]) / mutual_info_score(known, known))
    return float(np.mean(gaps))


@dataclass(frozen=True)
class Dci:
    """Disentanglement (a code tells one factor), completeness (a factor is told by one code), R² on other rows."""

    disentanglement: float
    completeness: float
    informativeness: float


def dci(codes: Tensor, factors: Mapping[str, Tensor]) -> Dci:
    """Fit a random forest for each factor on half of the rows; its importances are the matrix of DCI."""
    fits = [_fit(codes, factor) for factor in factors.values()]
    importances = np.stack([importance for importance, _ in fits], axis=1) + 1e-11  # codes × factors
    weights = importances.sum(axis=1) / importances.sum()
    of_codes = 1 - _entropy(importances, axis=1) / math.log(importances.shape[1])
    of_factors = 1 - _entropy(importances, axis=0) / math.log(importances.shape[0])
    return Dci(
        float((weights * of_codes).sum()), float(of_factors.mean()), float(np.mean([r2 for _, r2 in fits]))
    )


def r2(codes: Tensor, factors: Mapping[str, Tensor]) -> float:
    """Give the mean over factors of how well a random forest tells them, on rows that it was not fitted on."""
    return float(np.mean([_fit(codes, factor)[1] for factor in factors.values()]))


def _fit(codes: Tensor, factor: Tensor) -> tuple[NDArray[np.float64], float]:
    half = len(codes) // 2
    forest = RandomForestRegressor(TREES, max_depth=DEPTH, random_state=0)
    forest.fit(codes[:half].numpy(), factor[:half].numpy())
    return forest.feature_importances_, float(forest.score(codes[half:].numpy(), factor[half:].numpy()))


def _entropy(importances: NDArray[np.float64], *, axis: int) -> NDArray[np.float64]:
    shares = importances / importances.sum(axis=axis, keepdims=True)
    result: NDArray[np.float64] = -(shares * np.log(shares)).sum(axis=axis)
    return result


def _binned(code: NDArray[np.float32]) -> NDArray[np.int64]:
    """Cut between the smallest and the largest value, as Chen et al. and Locatello et al. do."""
    result: NDArray[np.int64] = np.digitize(code, np.histogram(code, BINS)[1][:-1])
    return result
