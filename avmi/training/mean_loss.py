"""Losses of the batches of one optimizer step → the loss that the step goes down, for the record."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Shaped
from torch import Tensor

from avmi.objective import Loss, PairTerm


def mean_of(losses: Sequence[Loss]) -> Loss:
    """Average the batches' losses; gradients are not carried on.

    A term is averaged over the batches in which a pair had clips; its `clips` are those of all batches, its standard
    error that of the mean.
    """
    if len(losses) == 1:
        return losses[0]
    with torch.no_grad():
        codes = dict.fromkeys(name for loss in losses for name in loss.codes)
        return replace(
            losses[-1],
            total=torch.stack([loss.total for loss in losses]).mean(),
            terms={name: _mean_term([loss.terms[name] for loss in losses]) for name in losses[-1].terms},
            codes={
                name: torch.stack([loss.codes[name] for loss in losses if name in loss.codes]).mean()
                for name in codes
            },
        )


def _mean_term(terms: Sequence[PairTerm]) -> PairTerm:
    clips = torch.stack([term.clips for term in terms])
    counts = clips > 0
    counts = counts | ~counts.any()  # of no clips at all: what every batch says of that

    def mean(values: Sequence[Tensor]) -> Tensor:
        return _mean(torch.stack(list(values)), counts)

    variance = mean([term.standard_error_nats.square() for term in terms]) / counts.sum()
    return replace(
        terms[-1],
        loss=mean([term.loss for term in terms]),
        bound_nats=mean([term.bound_nats for term in terms]),
        ceiling_nats=mean([term.ceiling_nats for term in terms]),
        k_effective=mean([term.k_effective for term in terms]),
        standard_error_nats=variance.sqrt(),
        clips=clips.sum(),
    )


def _mean(values: Shaped[Tensor, "batches"], counts: Shaped[Tensor, "batches"]) -> Tensor:
    return values.masked_fill(~counts, 0.0).sum() / counts.sum()
