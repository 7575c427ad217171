"""Unit-length embeddings with labels → ranks of the true match, recall@k, AUC, same label; pure, chunked."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from avmi.errors import InputError

RECALL_AT = (1, 5, 10)  # what the published tables of cross-modal retrieval report
CHUNK_ROWS = 256  # 256 × 100,000 float32 scores are 100 MB
UNIT_TOLERANCE = 1e-3  # unit vectors rounded to bfloat16 stay inside
# The same two vectors give scores some units of the last place apart, depending on where in a matrix
# product they stand: below that, scores are equal.
TIE_EPSILONS = 32


@dataclass(frozen=True)
class Ranks:
    """Between which ranks the true match of each query lies: equal scores leave it open. On the CPU."""

    query: Int[Tensor, "queries"]  # row of the query; those left out are missing
    best: Int[Tensor, "queries"]  # 1 + candidates with a higher score
    worst: Int[Tensor, "queries"]  # candidates with at least the same score, the match among them
    candidates: Int[Tensor, "queries"]  # size of the gallery that the query sees
    excluded: int = 0  # queries left out because nothing but the match was there

    def expected(self) -> Float[Tensor, "queries"]:
        """Give each query's rank, averaged over its ties."""
        return (self.best + self.worst).double() / 2

    def recall_at(self, k: int) -> Float[Tensor, "queries"]:
        """Give each query's probability that the true match is among the first k."""
        ties = (self.worst - self.best + 1).double()
        return ((k + 1 - self.best) / ties).clamp(0, 1)

    def chance(self) -> Float[Tensor, "queries"]:
        """Give each query's recall@1 under guessing."""
        return 1 / self.candidates.double()

    def auc(self) -> Float[Tensor, "queries"]:
        """Give each query's probability that the match outranks a random other candidate; ties half."""
        return (self.candidates - self.expected()) / (self.candidates - 1)

    def median_rank(self) -> float | None:
        """Give the median of the expected ranks; None without queries."""
        return float(self.expected().quantile(0.5)) if len(self.query) else None


@dataclass(frozen=True)
class PerQuery:
    """One value for each query that counts, on the CPU."""

    query: Int[Tensor, "queries"]  # row of the query; those left out are missing
    values: Float[Tensor, "queries"]
    excluded: int  # queries left out because their gallery was empty

    def mean(self) -> float | None:
        """Average over the queries that count; None when there is none."""
        return _mean(self.values)


def retrieval(
    queries: Float[Tensor, "queries dim"],
    gallery: Float[Tensor, "gallery dim"],
    *,
    chunk_rows: int = CHUNK_ROWS,
) -> Ranks:
    """Rank the gallery by cosine for every query; the true match of query i is gallery row i.

    Gallery rows beyond the last query only distract. Raises `InputError` for rows that are not of unit
    length or not finite, and for a gallery that lacks a match.
    """
    queries, gallery = _unit_rows(queries, gallery)
    if len(queries) > len(gallery):
        raise InputError(f"{len(queries)} queries need as many gallery rows, got {len(gallery)}")
    tie = TIE_EPSILONS * torch.finfo(queries.dtype).eps
    best, worst = [], []
    for rows, scores in _score_chunks(queries, gallery, chunk_rows):
        match = scores.gather(1, rows[:, None])  # from the same product: the very same rounding
        best.append(1 + (scores > match + tie).sum(dim=1).cpu())
        worst.append((scores >= match - tie).sum(dim=1).cpu())
    every = torch.arange(len(queries))
    return Ranks(
        query=every,
        best=torch.cat(best),
        worst=torch.cat(worst),
        candidates=torch.full_like(every, len(gallery)),
    )


def retrieval_summary(ranks: Ranks) -> dict[str, float | None]:
    """Sum up as `recall@1`, `recall@5`, `recall@10` and `median_rank`; None without queries."""
    recalls = {f"recall@{k}": _mean(ranks.recall_at(k)) for k in RECALL_AT}
    return {**recalls, "median_rank": ranks.median_rank()}


def within_label(
    queries: Float[Tensor, "items dim"],
    gallery: Float[Tensor, "items dim"],
    labels: Int[Tensor, "items"],
    *,
    chunk_rows: int = CHUNK_ROWS,
) -> Ranks:
    """Rank for every query only the gallery rows of its own label, so that the label is of no help.

    Queries whose label has a single item are left out and counted. Errors as in `retrieval`.
    """
    queries, gallery = _unit_rows(queries, gallery)
    labels = labels.cpu()
    groups = [torch.nonzero(labels == label).flatten() for label in set(labels.tolist())]
    groups = [group for group in groups if len(group) > 1]
    parts = [retrieval(queries[group], gallery[group], chunk_rows=chunk_rows) for group in groups]
    if not parts:
        nothing = torch.empty(0, dtype=torch.int64)
        return Ranks(nothing, nothing, nothing, nothing, excluded=len(queries))
    query, order = torch.cat(groups).sort()
    return Ranks(
        query=query,
        best=torch.cat([part.best for part in parts])[order],
        worst=torch.cat([part.worst for part in parts])[order],
        candidates=torch.cat([part.candidates for part in parts])[order],
        excluded=len(queries) - len(query),
    )


def within_label_summary(ranks: Ranks) -> dict[str, float | None]:
    """Sum up as `recall@1`, its `chance`, and `auc` (0.5 is chance); None without queries."""
    return {
        "recall@1": _mean(ranks.recall_at(1)),
        "chance": _mean(ranks.chance()),
        "auc": _mean(ranks.auc()),
    }


def same_label_at_1(
    queries: Float[Tensor, "queries dim"],
    gallery: Float[Tensor, "gallery dim"],
    *,
    query_labels: Int[Tensor, "queries"],
    gallery_labels: Int[Tensor, "gallery"],
    chunk_rows: int = CHUNK_ROWS,
) -> PerQuery:
    """Tell for every query whether the top of the gallery has its label: of ties, the share that has.

    The query's own clip is in the gallery. Errors as in `retrieval`.
    """
    return same_label_at_1_other_video(
        queries,
        gallery,
        query_labels=query_labels,
        gallery_labels=gallery_labels,
        query_videos=torch.zeros_like(query_labels),  # no video in common: nothing is hidden
        gallery_videos=torch.ones_like(gallery_labels),
        chunk_rows=chunk_rows,
    )


def same_label_at_1_other_video(
    queries: Float[Tensor, "queries dim"],
    gallery: Float[Tensor, "gallery dim"],
    *,
    query_labels: Int[Tensor, "queries"],
    gallery_labels: Int[Tensor, "gallery"],
    query_videos: Int[Tensor, "queries"],
    gallery_videos: Int[Tensor, "gallery"],
    chunk_rows: int = CHUNK_ROWS,
) -> PerQuery:
    """Tell as `same_label_at_1` does, with the query's own video hidden from the gallery.

    Queries that see no other video are left out and counted. Errors as in `retrieval`.
    """
    queries, gallery = _unit_rows(queries, gallery)
    device = queries.device
    query_labels, gallery_labels = query_labels.to(device), gallery_labels.to(device)
    query_videos, gallery_videos = query_videos.to(device), gallery_videos.to(device)
    tie = TIE_EPSILONS * torch.finfo(queries.dtype).eps
    shares, seen = [], []
    for rows, scores in _score_chunks(queries, gallery, chunk_rows):
        visible = query_videos[rows, None] != gallery_videos
        scores = scores.masked_fill(~visible, -2.0)  # below every cosine
        top = scores >= scores.amax(dim=1, keepdim=True) - tie
        same = top & (query_labels[rows, None] == gallery_labels)
        shares.append(same.sum(dim=1).cpu().double() / top.sum(dim=1).cpu())
        seen.append(visible.any(dim=1).cpu())
    kept = torch.nonzero(torch.cat(seen)).flatten()
    return PerQuery(kept, torch.cat(shares)[kept], excluded=len(queries) - len(kept))


def gallery_sha256(ids: Sequence[str]) -> str:
    """Hash a gallery's ids whatever their order: the same as `LC_ALL=C sort IDS | sha256sum`, one id a line."""
    if any("\n" in name for name in ids):
        raise InputError("an id holds a line break, which would make the gallery's hash ambiguous")
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(ids)).encode()).hexdigest()


def label_codes(labels: Sequence[str]) -> Int[Tensor, "items"]:
    """Turn labels (or video names) into integers, numbered in alphabetical order."""
    numbers = {label: number for number, label in enumerate(sorted(set(labels)))}
    return torch.tensor([numbers[label] for label in labels], dtype=torch.int64)


def _score_chunks(
    queries: Float[Tensor, "queries dim"], gallery: Float[Tensor, "gallery dim"], chunk_rows: int
) -> Iterator[tuple[Int[Tensor, "chunk"], Float[Tensor, "chunk gallery"]]]:
    for start in range(0, len(queries), chunk_rows):
        rows = torch.arange(start, min(start + chunk_rows, len(queries)), device=queries.device)
        with torch.autocast(queries.device.type, enabled=False):
            scores = queries[rows] @ gallery.T
        yield rows, scores


def _unit_rows(
    queries: Float[Tensor, "queries dim"], gallery: Float[Tensor, "gallery dim"]
) -> tuple[Float[Tensor, "queries dim"], Float[Tensor, "gallery dim"]]:
    """Check both sides and bring them to one dtype of at least float32."""
    dtype = torch.promote_types(torch.promote_types(queries.dtype, gallery.dtype), torch.float32)
    checked = []
    for name, rows in (("queries", queries), ("gallery", gallery)):
        if not len(rows):
            raise InputError(f"the {name} are empty: there is nothing to rank")
        rows = rows.detach().to(dtype)
        lengths = torch.linalg.vector_norm(rows, dim=1)
        bad = ~((lengths - 1).abs() <= UNIT_TOLERANCE)  # true for nan and inf, too
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            raise InputError(
                f"row {first} of the {name} has length {float(lengths[first]):.4g}, not 1 "
                f"({int(bad.sum())} such rows): normalize embeddings, and leave failed decodes out"
            )
        checked.append(rows)
    return checked[0], checked[1]


def _mean(values: Float[Tensor, "values"]) -> float | None:
    return float(values.double().mean()) if len(values) else None
