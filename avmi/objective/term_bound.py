"""Scores of one view pair → the bound that its configuration names, with what that bound learns beside the encoders."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avmi.config.bounds import PairBound
from avmi.config.pair_settings import PlaceScoring
from avmi.errors import InputError
from avmi.mi.bound import Bound
from avmi.mi.bounds import info_nce
from avmi.mi.multi_positive import multi_positive_info_nce
from avmi.mi.negatives import NegativeRule
from avmi.mi.pair_sums import PairSums, info_nce_of_sums, log_mean_of_sums, pair_sums
from avmi.mi.places import clip_scores
from avmi.mi.sigmoid import pairwise_sigmoid, sigmoid_loss_of_embeddings, trained_by_sigmoid
from avmi.mi.variational import (
    donsker_varadhan,
    interpolated,
    jensen_shannon,
    leave_one_out_lower,
    log_mean_of_negatives,
    nwj,
    smile,
    tuba,
    updated_log_mean,
)

# NWJ's best critic stands one nat above the log density ratio (Poole et al. 2019), that of the others at it.
FIRST_OFFSETS_NATS = {"nwj": 1.0}

# Bounds that need the offset of a log density ratio; the others do not change when all scores move alike.
WITH_OFFSET = ("nwj", "tuba", "jensen_shannon", "interpolated", "smile")
WITH_BASELINE = ("tuba", "interpolated")
OF_SUMS = ("info_nce", "sigmoid")
WITH_RUNNING_MEAN = ("donsker_varadhan", *WITH_OFFSET)


@dataclass(frozen=True)
class OwnScores:
    """What the scores of some clips of one view, from `first_clip` on, against all clips of another are made of."""

    first: Float[Tensor, "some places dim"]
    second: Float[Tensor, "clips other_places dim"]
    temperature: Float[Tensor, ""]
    negatives: NegativeRule
    first_clip: int


class TermBound(nn.Module):
    """The bound of one term of the loss: a view pair with one pool of negatives.

    Cosines over a temperature t have neither the offset nor the range of a log density ratio. Where the bound needs
    the offset, the scores are cos / t − m + offset: m is the logarithm of a running mean of the denominator E e^f,
    which follows the scores at once, and the offset, in nats, is learned. The value is taken with the m of the batches
    before, on which the batch has no bearing, so that lower bounds stay lower bounds; the gradient with the m that the
    batch is part of, as MINE's is: a baseline one batch late lets all cosines of two views drift to one side. Where the
    bound needs a baseline for each y, log a(y) = (w · embedding of y) / t. Donsker–Varadhan divides its gradient by the
    running mean. SigLIP's loss takes the m of
    this batch, as the value that is reported has no m in it. Running means move in training mode only, alike in every process.
    """

    log_mean: Tensor

    def __init__(self, settings: PairBound, *, places: PlaceScoring, embedding_dim: int | None) -> None:
        super().__init__()
        self.settings, self.places = settings, places
        if settings.name in (*WITH_OFFSET, "sigmoid"):
            self.offset = nn.Parameter(torch.tensor(FIRST_OFFSETS_NATS.get(settings.name, 0.0)))
        if settings.name in WITH_BASELINE:
            if embedding_dim is None:
                raise InputError(f"{settings.name} learns a baseline: give the objective embedding_dim")
            self.baseline = nn.Parameter(torch.zeros(embedding_dim))
        if settings.name in WITH_RUNNING_MEAN:
            self.register_buffer("log_mean", torch.tensor(-math.inf))  # −inf: of no batch yet

    def forward(
        self,
        scores: Float[Tensor, "clips places clips other_places"],
        second: Float[Tensor, "clips other_places dim"],
        *,
        temperature: Float[Tensor, ""],
        negatives: Bool[Tensor, "clips clips"],
        independent_negatives: bool,
    ) -> Bound:
        """Bound the MI of the pair from the scores of all places and the embeddings of its second view."""
        if self.settings.name == "info_nce":
            of_places = scores if self.places == "mean" else self._of_clips(scores)[:, None, :, None]
            return multi_positive_info_nce(
                of_places, negatives=negatives, independent_negatives=independent_negatives
            )
        of_clips = self._of_clips(scores)
        if self.settings.name not in WITH_RUNNING_MEAN:
            return self._variational(of_clips, second, temperature, negatives, independent_negatives)
        of_batch = log_mean_of_negatives(of_clips, negatives=negatives).detach()
        before, after = self.log_mean.clone(), self._followed(of_batch)
        if self.training:
            self.log_mean.copy_(after)
        if self.settings.name == "donsker_varadhan":
            return self._variational(of_clips, second, temperature, negatives, independent_negatives)
        # The first batch has none before it.
        reported = torch.where(before.isneginf(), after, before)
        bound = self._variational(
            self._standardized(of_clips, reported), second, temperature, negatives, independent_negatives
        )
        if not self.training:
            return bound
        trained = self._variational(
            self._standardized(of_clips, after), second, temperature, negatives, independent_negatives
        ).value_nats
        return replace(bound, value_nats=bound.value_nats.detach() + (trained - trained.detach()))

    @property
    def is_of_sums(self) -> bool:
        """Whether `sums` and `of_sums` do without the matrix of scores."""
        return self.settings.name in OF_SUMS and self.places == "mean"

    def sums(self, own: OwnScores) -> PairSums:
        """Sum over the negatives of these clips."""
        # SigLIP's loss is not made of these sums: they tell what is reported, and where the scores lie.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.settings.name != "sigmoid"):
            return pair_sums(
                own.first,
                own.second,
                own.temperature,
                negatives=own.negatives,
                first_clip=own.first_clip,
            )

    def own_loss(self, own: OwnScores, sums: PairSums) -> Float[Tensor, ""] | None:
        """Add up SigLIP's loss over these clips, with the sums of all; None where the bound is another."""
        if self.settings.name != "sigmoid":
            return None
        return sigmoid_loss_of_embeddings(
            own.first[:, 0],
            own.second[:, 0],
            1 / own.temperature,
            self.offset - log_mean_of_sums(sums),
            negatives=own.negatives,
            first_clip=own.first_clip,
        )

    def of_sums(
        self, sums: PairSums, loss: Float[Tensor, ""] | None, *, independent_negatives: bool
    ) -> Bound:
        """Give the bound from the sums of all clips against all, and the loss of all where there is one."""
        bound = info_nce_of_sums(sums, independent_negatives=independent_negatives)
        return bound if loss is None else trained_by_sigmoid(bound, loss / bound.counted.clamp(min=1))

    def _standardized(
        self, scores: Float[Tensor, "clips clips"], log_mean: Float[Tensor, ""]
    ) -> Float[Tensor, "clips clips"]:
        return scores - log_mean.masked_fill(log_mean.isneginf(), 0.0) + self.offset

    def _followed(self, of_batch: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Take the denominator of a batch into the running mean; one without negatives changes nothing."""
        decay = self.settings.decay_or_default
        # A decay of 0 would add −inf: the batch's own mean stands for itself.
        mixed = updated_log_mean(self.log_mean, of_batch, decay=decay) if decay else of_batch
        mixed = torch.where(self.log_mean.isneginf(), of_batch, mixed)
        return torch.where(of_batch.isneginf(), self.log_mean, mixed)

    def _of_clips(
        self, scores: Float[Tensor, "clips places clips other_places"]
    ) -> Float[Tensor, "clips clips"]:
        if self.places == "mean":
            return scores[:, 0, :, 0]  # the configuration has seen to it that there are no more
        return clip_scores(scores, self.places)

    def _variational(
        self,
        scores: Float[Tensor, "clips clips"],
        second: Float[Tensor, "clips other_places dim"],
        temperature: Float[Tensor, ""],
        negatives: Bool[Tensor, "clips clips"],
        independent: bool,
    ) -> Bound:
        settings = self.settings
        match settings.name:
            case "info_nce" | "info_nce_rows":
                return info_nce(
                    scores, negatives=negatives, independent_negatives=independent, direction="rows"
                )
            case "info_nce_columns":
                # Row i of the mask says whom clip i stands against, whichever of its views asks.
                return info_nce(
                    scores, negatives=negatives.T, independent_negatives=independent, direction="columns"
                )
            case "donsker_varadhan":
                return donsker_varadhan(
                    scores,
                    negatives=negatives,
                    independent_negatives=independent,
                    running_log_mean=self._running_log_mean(),
                )
            case "nwj":
                return nwj(scores, negatives=negatives, independent_negatives=independent)
            case "leave_one_out_lower":
                return leave_one_out_lower(scores, negatives=negatives, independent_negatives=independent)
            case "jensen_shannon":
                return jensen_shannon(scores, negatives=negatives, independent_negatives=independent)
            case "smile":
                return smile(
                    scores,
                    negatives=negatives,
                    independent_negatives=independent,
                    clip=settings.clip_or_default_nats,
                )
            case "tuba":
                return tuba(
                    scores,
                    negatives=negatives,
                    independent_negatives=independent,
                    log_baseline=self._log_baseline(second, temperature),
                )
            case "sigmoid":
                log_mean = log_mean_of_negatives(scores, negatives=negatives).detach()
                return pairwise_sigmoid(
                    self._standardized(scores, log_mean),
                    negatives=negatives,
                    independent_negatives=independent,
                )
            case "interpolated":
                return interpolated(
                    scores,
                    negatives=negatives,
                    independent_negatives=independent,
                    alpha=settings.alpha_or_default,
                    log_baseline=self._log_baseline(second, temperature),
                )

    def _log_baseline(
        self, second: Float[Tensor, "clips other_places dim"], temperature: Float[Tensor, ""]
    ) -> Float[Tensor, "clips"]:
        return second.mean(dim=1) @ self.baseline / temperature

    def _running_log_mean(self) -> Float[Tensor, ""]:
        return self.log_mean.masked_fill(self.log_mean.isneginf(), 0.0)
