"""{view: embedding} of all view pairs → loss, and the bound on each pair's mutual information."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from avmi.config.bounds import BoundName
from avmi.config.pair_settings import NegativePool
from avmi.config.parts import Temperature
from avmi.errors import InputError
from avmi.mi.bound import Bound, BoundKind
from avmi.mi.negatives import NegativeRule, all_negatives
from avmi.mi.pair_sums import PairSums
from avmi.mi.places import place_scores
from avmi.mi.posterior import Posterior
from avmi.objective.code_terms import CodeTerms
from avmi.objective.codes import Codes, join_codes
from avmi.objective.joined import Joined, OwnClips, ViewRows, join
from avmi.objective.joined_sums import add_up, join_sums
from avmi.objective.term_bound import OwnScores, TermBound
from avmi.objective.uneven import Facts, padded
from avmi.views.graph import Pair, ViewGraph

# CLIP's limit: scores are never multiplied by more than 100.
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.01, 1.0


@dataclass(frozen=True)
class PairTerm:
    """What one pool of one view pair adds to the loss; tensors are scalars, so that nothing waits for a GPU."""

    loss: Tensor  # carries the gradient
    bound_nats: Tensor  # value of the bound on the MI of the pair
    ceiling_nats: Tensor  # the most that it can say: mean log K for InfoNCE, inf without a limit
    k_effective: Tensor  # one positive and its negatives, averaged over the clips
    standard_error_nats: Tensor  # of the bound, clips taken as independent draws
    clips: Tensor  # clips that had both views and a negative
    temperature: Tensor  # divides the scores of the pair
    kind: BoundKind  # negatives of the same video are no draws of the marginal: neither
    bound: BoundName = "info_nce"


@dataclass(frozen=True)
class Loss:
    """Weighted mean over the terms that had clips and the terms of codes; each by name, and the shared temperature."""

    total: Tensor
    terms: dict[str, PairTerm]
    temperature: Tensor
    # Scalars of codes for the record, such as upper_nats/<view>.
    codes: dict[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module):
    """A bound on the MI of every view pair of a graph, with learned temperatures, and what codes add to the loss.

    Scores are cosines of unit-length embeddings divided by the temperature (van den Oord et al. 2018; Tian et
    al. 2020 for many views). In several processes the negatives come from all of them. `grids` gives the places
    of feature views, as `Encoders.grids` does; without it a view that no clip of a batch has counts as one
    without places, which several processes must not disagree on. `embedding_dim` is needed by bounds that learn a
    baseline, `codes` by stochastic encoders that a bottleneck or private parts act on.
    """

    def __init__(
        self,
        graph: ViewGraph,
        *,
        temperature: Temperature,
        grids: Mapping[str, tuple[int, ...]] | None = None,
        embedding_dim: int | None = None,
        codes: CodeTerms | None = None,
    ) -> None:
        super().__init__()
        self.graph, self.grids = graph, dict(grids or {})
        self.views = graph.paired_views
        self.log_temperature = _log(temperature)
        # A parameter that no term depends on has no gradient, for which several processes would wait.
        self.log_temperature.requires_grad &= any(pair.temperature is None for pair in graph.pairs)
        self.pair_log_temperatures = nn.ParameterDict(
            {pair.name: _log(pair.temperature) for pair in graph.pairs if pair.temperature}
        )
        self.bounds = nn.ModuleDict(
            {
                name: TermBound(pair.bound, places=pair.places, embedding_dim=embedding_dim)
                for pair in graph.pairs
                for name in pair.terms
            }
        )
        self.codes = codes
        self.weights = {name: p.weight_of(pool) for p in graph.pairs for name, pool in p.terms.items()}

    @property
    def temperature(self) -> Tensor:
        """Number that divides the scores of pairs without a temperature of their own."""
        return self.log_temperature.exp()

    @property
    def scored_pairs(self) -> tuple[Pair, ...]:
        """Pairs of which a term takes the matrix of all scores, whose memory grows with the square of the batch."""
        return tuple(
            pair
            for pair in self.graph.pairs
            if any(self._needs_scores(name, pool) for name, pool in pair.terms.items())
        )

    @torch.no_grad()
    def keep_temperature_in_range(self) -> None:
        """Bring every temperature back into [0.01, 1]; call it after each optimizer step."""
        for parameter in (self.log_temperature, *self.pair_log_temperatures.values()):
            parameter.clamp_(math.log(LEAST_TEMPERATURE), math.log(MOST_TEMPERATURE))

    def forward(
        self,
        embeddings: Mapping[str, Float[Tensor, "_ *grid dim"]],
        *,
        rows: Mapping[str, Int[Tensor, "_"]] | None = None,
        videos: Int[Tensor, "batch"] | None = None,
        seconds: Float[Tensor, "batch"] | None = None,
        posteriors: Mapping[str, Posterior] | None = None,
        progress: float = 1.0,
        capacity: int | None = None,
    ) -> Loss:
        """Compute the loss of a batch.

        `embeddings[view]` holds the clips that have the view, with or without places; `rows` says which of the
        batch they are, by the signal views that clips were cut into (None: all views of all clips). `videos`
        numbers the clips' videos, `seconds` gives their anchors: clips of one video are no negatives of each
        other but in a `same_video` pool, which needs both. A pair that no clip of the batch can train is left
        out, on every process alike; its `clips` is 0. `posteriors` are those of stochastic encoders, `progress` the
        share of the training that is done, for weights that warm up. `capacity` is the clips of the largest batch
        of any process, where they differ, as last batches do; without it all have as many. Raises `InputError` for
        facts that are needed and missing.
        """
        if rows is not None and videos is None:
            raise InputError("rows say which clips of the batch have a view: give the objective videos, too")
        given = Facts(rows, videos, seconds)
        if capacity is not None:
            given = self._padded(given, len(next(iter(embeddings.values()))), capacity)
        joined = self._join(embeddings, given)
        terms = self.terms(joined)
        losses = torch.stack([term.loss for term in terms.values()])
        weights = torch.stack([self.weights[name] * (term.clips > 0) for name, term in terms.items()])
        total = (weights * losses).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
        if self.codes is None:
            return Loss(total, terms, self.temperature.detach())
        if posteriors is None:
            raise InputError(
                "the objective has terms of codes: give it the posteriors that encoders train on, too"
            )
        codes = self.join_codes(posteriors, rows=given.rows, videos=given.videos)
        of_codes = self.codes(codes, progress=progress)
        return Loss(total + of_codes.total, terms, self.temperature.detach(), of_codes.scalars)

    def join_codes(
        self,
        posteriors: Mapping[str, Posterior],
        *,
        rows: Mapping[str, Int[Tensor, "_"]] | None = None,
        videos: Int[Tensor, "batch"] | None = None,
        capacity: int | None = None,
    ) -> dict[str, Codes]:
        """Join the posteriors of all processes for the views that are in pairs; arguments as those of a batch."""
        some = next(iter(posteriors.values())).mean
        if capacity is not None:
            given = self._padded(Facts(rows, videos), len(some), capacity)
            rows, videos = given.rows, given.videos
        return join_codes(
            posteriors,
            views=self.views,
            rows={n: rows[self.graph.signal_of(n)] for n in self.views if rows and n in posteriors},
            videos=torch.arange(len(some), device=some.device) if videos is None else videos,
        )

    def terms(self, joined: Joined) -> dict[str, PairTerm]:
        """Bound the MI of every pair, once for each pool of its negatives; alike in every process."""
        terms: dict[str, PairTerm] = {}
        with torch.autocast(next(iter(joined.embeddings.values())).device.type, enabled=False):
            sums, losses = self._sums(joined)
            for pair in self.graph.pairs:
                of_scores = self._bounds_of_scores(pair, joined)
                for name, pool in pair.terms.items():
                    bound = of_scores.get(name) or self._term_bound(name).of_sums(
                        sums[name], losses.get(name), independent_negatives=pool.is_independent
                    )
                    terms[name] = _term(bound, pair.bound.name, self._temperature_of(pair))
        return terms

    def _sums(self, joined: Joined) -> tuple[dict[str, PairSums], dict[str, Tensor]]:
        """Give sums over negatives, and losses that are not made of them, of the terms that need no matrix of scores.

        Every process adds up over its own clips, and all is joined.
        """
        clips = joined.own or OwnClips(joined.embeddings, 0)
        scored = {
            name: OwnScores(
                clips.embeddings[pair.first],
                joined.embeddings[pair.second],
                self._temperature_of(pair),
                _rule(pair, pool, joined),
                clips.first_clip,
            )
            for pair in self.graph.pairs
            for name, pool in pair.terms.items()
            if not self._needs_scores(name, pool)
        }
        own = {name: self._term_bound(name).sums(scores) for name, scores in scored.items()}
        sums = own if joined.own is None else join_sums(own)
        found = {name: self._term_bound(name).own_loss(scores, sums[name]) for name, scores in scored.items()}
        losses = {name: loss for name, loss in found.items() if loss is not None}
        return sums, losses if joined.own is None else add_up(losses)

    def _bounds_of_scores(self, pair: Pair, joined: Joined) -> dict[str, Bound]:
        """Bound the MI of a pair by those of its terms that need the matrix of scores, which they share."""
        pools = {name: pool for name, pool in pair.terms.items() if self._needs_scores(name, pool)}
        if not pools:
            return {}
        first, second = joined.embeddings[pair.first], joined.embeddings[pair.second]
        temperature = self._temperature_of(pair)
        scores = place_scores(first, second, temperature)
        return {
            name: self._term_bound(name)(
                scores,
                second,
                temperature=temperature,
                negatives=all_negatives(_rule(pair, pool, joined), count=pool.count),
                independent_negatives=pool.is_independent,
            )
            for name, pool in pools.items()
        }

    def _needs_scores(self, name: str, pool: NegativePool) -> bool:
        """Say whether a term takes the matrix of scores: its bound does, or its negatives are not mutual."""
        return not self._term_bound(name).is_of_sums or pool.count is not None

    def _term_bound(self, name: str) -> TermBound:
        bound = self.bounds[name]
        assert isinstance(bound, TermBound)
        return bound

    def _temperature_of(self, pair: Pair) -> Tensor:
        own = self.pair_log_temperatures[pair.name] if pair.temperature else self.log_temperature
        return own.exp()

    def _padded(self, given: Facts, clips: int, capacity: int) -> Facts:
        clips = clips if given.videos is None else len(given.videos)
        return padded(given, signals=tuple(self.graph.signals), clips=clips, capacity=capacity)

    def _join(self, embeddings: Mapping[str, Tensor], given: Facts) -> Joined:
        first = next(iter(embeddings.values()))
        views = {}
        for name in self.views:
            own = embeddings.get(name)
            grid = self.grids.get(name, () if own is None else tuple(own.shape[1:-1]))
            where = None if given.rows is None or own is None else given.rows[self.graph.signal_of(name)]
            views[name] = ViewRows(own, where, grid)
        batch = len(first) if given.videos is None else len(given.videos)
        return join(views, batch=batch, like=first, videos=given.videos, seconds=given.seconds)


def _log(temperature: Temperature) -> nn.Parameter:
    return nn.Parameter(torch.tensor(math.log(temperature.initial)), requires_grad=temperature.learned)


def _rule(pair: Pair, pool: NegativePool, joined: Joined) -> NegativeRule:
    present = joined.present[pair.first] & joined.present[pair.second]
    videos = joined.videos
    match pool.pool:
        case "other_videos":
            return NegativeRule(
                present, torch.arange(len(present), device=present.device) if videos is None else videos
            )
        case "same_video":
            if videos is None or joined.seconds is None:
                raise InputError(
                    f"{pair.name} takes negatives of the same video: give the objective videos and seconds"
                )
            return NegativeRule(present, videos, joined.seconds, pool.gap_seconds)


def _term(bound: Bound, name: BoundName, temperature: Tensor) -> PairTerm:
    # What is missing to the ceiling, where there is one: it does not change as batches lose clips.
    ceiling = bound.ceiling_nats.masked_fill(bound.ceiling_nats.isinf(), 0.0)
    return PairTerm(
        loss=ceiling - bound.value_nats,
        bound_nats=bound.value_nats.detach(),
        ceiling_nats=bound.ceiling_nats,
        k_effective=bound.k_effective,
        standard_error_nats=bound.standard_error_nats,
        clips=bound.counted,
        temperature=temperature.detach(),
        bound=name,
        kind=bound.kind,
    )
