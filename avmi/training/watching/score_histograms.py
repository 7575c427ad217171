"""Embeddings of clips by view → histograms of the cosines of every term's positives and negatives, and how far apart they are."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avmi.config.pair_settings import NegativePool
from avmi.mi.negatives import NegativeRule, negatives_in_rows
from avmi.mi.places import clip_scores, place_scores
from avmi.objective.joined import Joined
from avmi.views.graph import Pair

# Bins over [−1, 1], 0.02 wide and the same at every step, so that steps can be compared: a tenth of the distance
# that positives and negatives typically have.
BINS = 100
# Scores that are counted of one pair, and how many of them are in memory at a time (16 MB): a pair of 256 held-out
# clips has 65,536. Of more, evenly spread clips are scored against all; where the places of a single clip against all
# others are more than a chunk, only the first clips are looked at, neighbours being of one video.
MOST_SCORES, CHUNK_SCORES = 2**23, 2**22


@dataclass(frozen=True)
class Histogram:
    """How many cosines lie in each of `BINS` equal bins over [−1, 1], and what their moments need."""

    counts: Int[Tensor, "bins"]
    total: float
    total_squares: float
    least: float
    most: float

    @classmethod
    def of(cls, cosines: Float[Tensor, "_"]) -> "Histogram":
        """Count cosines; those that rounding put beyond ±1 are in the outer bins."""
        if not len(cosines):
            return cls(torch.zeros(BINS, dtype=torch.long), 0.0, 0.0, math.inf, -math.inf)
        places = ((cosines + 1) * (BINS / 2)).long().clamp_(0, BINS - 1)
        least, most = cosines.aminmax()
        total = float(cosines.sum(dtype=torch.float64))
        total_squares = float(cosines.square().sum(dtype=torch.float64))
        return cls(torch.bincount(places, minlength=BINS), total, total_squares, float(least), float(most))

    def __add__(self, other: "Histogram") -> "Histogram":
        """Join two histograms."""
        return Histogram(
            self.counts + other.counts,
            self.total + other.total,
            self.total_squares + other.total_squares,
            min(self.least, other.least),
            max(self.most, other.most),
        )

    @property
    def number(self) -> int:
        """Count the cosines."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Average the cosines."""
        return self.total / self.number

    @property
    def variance(self) -> float:
        """Give the variance of the cosines."""
        return max(0.0, self.total_squares / self.number - self.mean**2)


@dataclass(frozen=True)
class TermScores:
    """The cosines of the positives and the negatives of one term of the loss."""

    positives: Histogram
    negatives: Histogram

    def auc(self) -> float:
        """Give the probability that a random positive outscores a random negative; those of one bin count half."""
        positives, negatives = self.positives.counts.double(), self.negatives.counts.double()
        below = negatives.cumsum(0) - negatives / 2
        return float((positives * below).sum()) / self.positives.number / self.negatives.number

    def d_prime(self) -> float:
        """Give the distance of the means in standard deviations (d′, with the root mean square of both)."""
        deviation = math.sqrt((self.positives.variance + self.negatives.variance) / 2)
        return (self.positives.mean - self.negatives.mean) / max(deviation, 1e-6)


def score_histograms(
    joined: Joined, pairs: Sequence[Pair], *, temperatures: Mapping[str, float]
) -> dict[str, TermScores]:
    """Count the cosines of every term's positives and negatives, all on the CPU, without the whole matrix of them.

    Scores are those of the loss without their temperature: of every two places, or of two clips where the pair scores
    clips by their best places, for which `temperatures` has the pair's. Of a `same_video` pool all moments count that
    are far enough apart, whatever its `count`. A term without negatives, or of a view that no clip has, is left out.
    """
    assert joined.videos is not None
    found: dict[str, TermScores] = {}
    for pair in pairs:
        if not {pair.first, pair.second} <= joined.present.keys():
            continue
        both = joined.present[pair.first] & joined.present[pair.second]
        places = joined.embeddings[pair.first].shape[1] * joined.embeddings[pair.second].shape[1]
        rows = both.nonzero().flatten()[: max(2, CHUNK_SCORES // places)]
        sides = joined.embeddings[pair.first][rows], joined.embeddings[pair.second][rows]
        rules = {name: _rule(pool, joined, rows) for name, pool in pair.terms.items()}
        scores = _of_pair(pair, *sides, rules, temperatures[pair.name])
        found |= {name: term for name, term in scores.items() if term.negatives.number}
    return found


def scalars_of_scores(scores: Mapping[str, TermScores]) -> dict[str, float]:
    """Give the mean cosine of positives and of negatives of every term, their d′, and the AUC."""
    scalars: dict[str, float] = {}
    for name, term in scores.items():
        scalars[f"positive_score/{name}"] = term.positives.mean
        scalars[f"negative_score/{name}"] = term.negatives.mean
        scalars[f"score_auc/{name}"] = term.auc()
        scalars[f"d_prime/{name}"] = term.d_prime()
    return scalars


def _rule(pool: NegativePool, joined: Joined, rows: Int[Tensor, "some"]) -> NegativeRule:
    assert joined.videos is not None
    videos, everywhere = joined.videos[rows], torch.ones(len(rows), dtype=torch.bool)
    if pool.pool == "other_videos":
        return NegativeRule(everywhere, videos)
    assert joined.seconds is not None
    return NegativeRule(everywhere, videos, joined.seconds[rows], pool.gap_seconds)


def _of_pair(
    pair: Pair,
    first: Float[Tensor, "clips places dim"],
    second: Float[Tensor, "clips other_places dim"],
    rules: Mapping[str, NegativeRule],
    temperature: float,
) -> dict[str, TermScores]:
    nothing = Histogram.of(first.new_zeros(0))
    found = dict.fromkeys(rules, TermScores(nothing, nothing))
    clips = torch.arange(len(first))
    for rows in _row_chunks(len(first), a_row=len(first) * first.shape[1] * second.shape[1]):
        cosines = _cosines(pair, first[rows], second, temperature)
        own = clips[rows, None] == clips[None, :]
        positives = Histogram.of(_at(cosines, own))
        for name, rule in rules.items():
            negatives = Histogram.of(_at(cosines, negatives_in_rows(rule, rows)))
            found[name] = TermScores(found[name].positives + positives, found[name].negatives + negatives)
    return found


def _row_chunks(rows: int, *, a_row: int) -> Iterator[slice]:
    """Walk through evenly spread rows, as many as `MOST_SCORES` allows and one at least."""
    step = math.ceil(rows * a_row / MOST_SCORES) or 1
    chunk = step * max(1, CHUNK_SCORES // max(1, a_row))
    for start in range(0, rows, chunk):
        yield slice(start, min(rows, start + chunk), step)


def _cosines(
    pair: Pair,
    first: Float[Tensor, "some places dim"],
    second: Float[Tensor, "clips other_places dim"],
    temperature: float,
) -> Float[Tensor, "some clips _"]:
    if pair.places == "mean":
        return place_scores(first, second, torch.tensor(1.0)).transpose(1, 2).flatten(2)
    scores = place_scores(first, second, torch.tensor(temperature))
    return clip_scores(scores, pair.places)[:, :, None] * temperature


def _at(cosines: Float[Tensor, "some clips _"], mask: Bool[Tensor, "some clips"]) -> Float[Tensor, "_"]:
    return cosines[mask].flatten()
