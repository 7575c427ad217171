"""Ranks, recall and labels at the top against brute force, torchmetrics and the closed forms of ties."""

import hashlib
import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchmetrics.functional.retrieval import retrieval_auroc, retrieval_hit_rate

from avmi import metrics
from avmi.errors import InputError


def unit(rows: int, dim: int, *, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, dim, generator=generator, dtype=dtype), dim=1)


def paired(rows: int, dim: int, *, seed: int, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    queries = unit(rows, dim, seed=seed)
    return queries, normalize(queries + noise * unit(rows, dim, seed=seed + 1), dim=1)


def in_the_plane(*quarters: int) -> Tensor:
    """Unit vectors at multiples of 90°: their cosines are exactly −1, 0 or 1."""
    corners = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    return corners[list(quarters)]


def ranks_under_every_order(scores: list[float], match: int) -> list[int]:
    """Rank of the match for every order in which ties can be broken."""
    orders = itertools.permutations(range(len(scores)))
    return [sorted(order, key=lambda j: -scores[j]).index(match) + 1 for order in orders]


def test_recall_and_rank_are_the_average_over_all_ways_to_break_ties() -> None:
    queries, gallery = in_the_plane(0, 1, 2, 0), in_the_plane(0, 1, 1, 0, 2, 3)
    ranks = metrics.retrieval(queries, gallery, chunk_rows=3)
    for i, scores in enumerate((queries @ gallery.T).tolist()):
        possible = ranks_under_every_order(scores, i)
        assert float(ranks.expected()[i]) == pytest.approx(sum(possible) / len(possible))
        assert (int(ranks.best[i]), int(ranks.worst[i])) == (min(possible), max(possible))
        for k in range(1, 8):
            share = sum(rank <= k for rank in possible) / len(possible)
            assert float(ranks.recall_at(k)[i]) == pytest.approx(share)
    assert sorted({float(rank) for rank in ranks.expected()}) == [1.5, 3.0]


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_equals_torchmetrics_without_ties(k: int) -> None:
    queries, gallery = paired(60, 16, seed=0, noise=3.0)
    ours = metrics.retrieval_summary(metrics.retrieval(queries, gallery))[f"recall@{k}"]
    hits = [
        float(retrieval_hit_rate(row, torch.arange(60) == i, top_k=k))
        for i, row in enumerate(queries @ gallery.T)
    ]
    assert ours == pytest.approx(sum(hits) / 60)
    assert 0 < sum(hits) < 60


def test_ranks_equal_a_sort_without_ties() -> None:
    queries, gallery = paired(41, 7, seed=2, noise=3.0)
    ranks = metrics.retrieval(queries, torch.cat([gallery, unit(8, 7, seed=4)]))
    scores = queries @ torch.cat([gallery, unit(8, 7, seed=4)]).T
    expected = [1 + row.argsort(descending=True).tolist().index(i) for i, row in enumerate(scores)]
    assert ranks.best.tolist() == ranks.worst.tolist() == expected
    assert ranks.median_rank() == sorted(expected)[20]
    assert set(ranks.candidates.tolist()) == {49}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("chunk_rows", [7, 256])
def test_equal_rows_score_exactly_chance(dtype: torch.dtype, chunk_rows: int) -> None:
    row = unit(1, 96, seed=5, dtype=torch.float64).to(dtype)
    queries, gallery = unit(23, 96, seed=6).to(dtype), row.repeat(23, 1)
    for first, second in ((queries, gallery), (gallery, gallery)):
        ranks = metrics.retrieval(first, second, chunk_rows=chunk_rows)
        for k in (1, 5, 10, 23):
            assert ranks.recall_at(k).tolist() == pytest.approx([k / 23] * 23)
        assert ranks.median_rank() == 12.0
        assert ranks.auc().tolist() == pytest.approx([0.5] * 23)


def test_failed_decodes_that_are_all_alike_cost_their_share_and_no_more() -> None:
    good = torch.eye(101, dtype=torch.float32)[:90]
    failed = torch.eye(101)[100].repeat(10, 1)
    rows = torch.cat([good, failed])
    summary = metrics.retrieval_summary(metrics.retrieval(rows, rows))
    assert summary["recall@1"] == pytest.approx(0.9 + 0.1 * 1 / 10)
    assert summary["recall@5"] == pytest.approx(0.9 + 0.1 * 5 / 10)
    assert summary["recall@10"] == pytest.approx(1.0)
    assert summary["median_rank"] == 1.0


def test_rounding_by_place_in_the_product_is_still_a_tie() -> None:
    twin = unit(1, 300, seed=7, dtype=torch.float32)
    gallery = twin.repeat(301, 1) + 1e-8 * unit(301, 300, seed=8, dtype=torch.float32)
    ranks = metrics.retrieval(twin.repeat(301, 1), gallery)
    assert ranks.best.tolist() == [1] * 301
    assert ranks.worst.tolist() == [301] * 301


@pytest.mark.parametrize("chunk_rows", [1, 7, 29, 64])
def test_chunk_size_and_order_do_not_matter(chunk_rows: int) -> None:
    queries, gallery = paired(29, 5, seed=9, noise=2.0)
    gallery[4:9] = gallery[4]
    labels, videos = torch.arange(29) % 4, torch.arange(29) // 3
    order = torch.randperm(29, generator=torch.Generator().manual_seed(10))

    def everything(places: Tensor, rows: int) -> list[Tensor]:
        q, g, of_label, of_video = queries[places], gallery[places], labels[places], videos[places]
        back = places.argsort()
        ranks = metrics.retrieval(q, g, chunk_rows=rows)
        within = metrics.within_label(q, g, of_label, chunk_rows=rows)
        same = metrics.same_label_at_1_other_video(
            q,
            g,
            query_labels=of_label,
            gallery_labels=of_label,
            query_videos=of_video,
            gallery_videos=of_video,
            chunk_rows=rows,
        )
        return [ranks.best[back], ranks.worst[back], within.best[back], within.worst[back], same.values[back]]

    reference = everything(torch.arange(29), 256)
    assert all(map(torch.equal, everything(torch.arange(29), chunk_rows), reference))
    assert all(map(torch.equal, everything(order, chunk_rows), reference))


def test_no_chunk_holds_more_scores_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    matmul = Tensor.__matmul__
    monkeypatch.setattr(
        Tensor, "__matmul__", lambda a, b: shapes.append((len(a), b.shape[1])) or matmul(a, b)
    )
    metrics.retrieval(unit(25, 4, seed=11), unit(31, 4, seed=12), chunk_rows=10)
    assert shapes == [(10, 31), (10, 31), (5, 31)]


def test_within_label_equals_brute_force_in_every_label() -> None:
    queries, gallery = paired(30, 6, seed=13, noise=2.0)
    labels = torch.tensor([0] * 13 + [5] * 9 + [7] * 7 + [9])[
        torch.randperm(30, generator=torch.Generator().manual_seed(24))
    ]
    ranks = metrics.within_label(queries, gallery, labels, chunk_rows=4)
    recalls, chances, aucs = [], [], []
    for i in range(30):
        others = [j for j in range(30) if j != i and labels[j] == labels[i]]
        if not others:
            continue
        mine = float(queries[i] @ gallery[i])
        beaten = [float(queries[i] @ gallery[j]) < mine for j in others]
        recalls.append(float(all(beaten)))
        chances.append(1 / (len(others) + 1))
        aucs.append(sum(beaten) / len(others))
    summary = metrics.within_label_summary(ranks)
    assert summary == pytest.approx(
        {"recall@1": sum(recalls) / 29, "chance": sum(chances) / 29, "auc": sum(aucs) / 29}
    )
    assert ranks.excluded == 1
    assert int(labels[sorted(set(range(30)) - set(ranks.query.tolist()))[0]]) == 9


def test_auc_equals_torchmetrics_without_ties() -> None:
    queries, gallery = paired(40, 6, seed=14, noise=2.0)
    ours = metrics.within_label(queries, gallery, torch.zeros(40, dtype=torch.int64)).auc()
    theirs = [float(retrieval_auroc(row, torch.arange(40) == i)) for i, row in enumerate(queries @ gallery.T)]
    assert ours.tolist() == pytest.approx(theirs)


def test_labels_alone_score_chance_within_the_label() -> None:
    labels = torch.arange(24) % 3
    embeddings = torch.eye(5)[labels]
    summary = metrics.within_label_summary(metrics.within_label(embeddings, embeddings, labels))
    assert summary == pytest.approx({"recall@1": 1 / 8, "chance": 1 / 8, "auc": 0.5})


def test_labels_of_one_item_each_leave_nothing_to_rank() -> None:
    rows = unit(6, 4, seed=15)
    ranks = metrics.within_label(rows, rows, torch.arange(6))
    assert ranks.excluded == 6
    assert metrics.within_label_summary(ranks) == {"recall@1": None, "chance": None, "auc": None}
    assert ranks.median_rank() is None


def test_same_label_is_the_share_of_the_tied_tops() -> None:
    queries, gallery = in_the_plane(0, 1, 2), in_the_plane(0, 0, 0, 1, 3)
    found = metrics.same_label_at_1(
        queries,
        gallery,
        query_labels=torch.tensor([4, 8, 8]),
        gallery_labels=torch.tensor([4, 4, 8, 8, 8]),
    )
    # Query 0 ties with three, of which two are 4; query 1 has one top; query 2 ties with the last two (cosine 0).
    assert found.values.tolist() == pytest.approx([2 / 3, 1.0, 1.0])
    assert found.mean() == pytest.approx(8 / 9)


def test_same_label_equals_an_argmax_without_ties() -> None:
    queries, gallery = unit(35, 4, seed=16), unit(50, 4, seed=17)
    query_labels, gallery_labels = torch.arange(35) % 3, torch.arange(50) % 3
    found = metrics.same_label_at_1(
        queries, gallery, query_labels=query_labels, gallery_labels=gallery_labels, chunk_rows=8
    )
    top = (queries @ gallery.T).argmax(dim=1)
    assert found.values.tolist() == (gallery_labels[top] == query_labels).double().tolist()
    assert 0 < found.mean() < 1


def test_other_videos_only_hides_the_own_video_and_counts_who_sees_none() -> None:
    rows = torch.cat([torch.eye(4), torch.eye(4)])  # two views of every item; the twin is 4 further
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 0])
    videos = torch.tensor([0, 1, 2, 3, 0, 5, 6, 7])
    found = metrics.same_label_at_1_other_video(
        rows,
        rows,
        query_labels=labels,
        gallery_labels=labels,
        query_videos=videos,
        gallery_videos=videos,
    )
    # 0 and 4 are one video, so both see six clips at cosine 0, of which only clip 7 has their label;
    # 1↔5 and 2↔6 find each other; 3↔7 find each other with different labels.
    assert found.values.tolist() == pytest.approx([1 / 6, 1, 1, 0, 1 / 6, 1, 1, 0])
    one_video = metrics.same_label_at_1_other_video(
        rows[:3],
        rows[:5],
        query_labels=labels[:3],
        gallery_labels=labels[:5],
        query_videos=torch.tensor([9, 9, 1]),
        gallery_videos=torch.tensor([9] * 5),
    )
    assert (one_video.query.tolist(), one_video.excluded) == ([2], 2)


@pytest.mark.parametrize(
    ("value", "words"), [(float("nan"), "length nan"), (float("inf"), "length inf"), (2.0, "length 2, not 1")]
)
@pytest.mark.parametrize("side", ["queries", "gallery"])
def test_rows_that_are_no_unit_vectors_are_an_error(value: float, words: str, side: str) -> None:
    rows = {"queries": unit(5, 3, seed=18), "gallery": unit(6, 3, seed=19)}
    rows[side][3] = torch.tensor([value, 0.0, 0.0])
    with pytest.raises(InputError, match=f"row 3 of the {side} has {words}"):
        metrics.retrieval(**rows)


def test_no_query_and_a_missing_match_are_errors() -> None:
    with pytest.raises(InputError, match="queries are empty"):
        metrics.retrieval(torch.empty(0, 3), unit(4, 3, seed=20))
    with pytest.raises(InputError, match="5 queries need"):
        metrics.retrieval(unit(5, 3, seed=21), unit(4, 3, seed=22))


def test_an_autocast_around_the_evaluation_changes_nothing() -> None:
    queries, gallery = (side.float() for side in paired(50, 64, seed=23, noise=8.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = metrics.retrieval(queries, gallery)
    assert torch.equal(inside.best, metrics.retrieval(queries, gallery).best)
    assert torch.equal(inside.worst, metrics.retrieval(queries, gallery).worst)


def test_the_hash_of_a_gallery_ignores_order_and_is_that_of_its_sorted_lines() -> None:
    ids = ["b@100", "a@2000", "é@5", "B@1"]
    expected = hashlib.sha256("B@1\na@2000\nb@100\né@5\n".encode()).hexdigest()
    assert metrics.gallery_sha256(ids) == metrics.gallery_sha256(ids[::-1]) == expected
    assert metrics.gallery_sha256(ids[1:]) != expected
    assert metrics.gallery_sha256([*ids, "B@1"]) != expected
    with pytest.raises(InputError, match="line break"):
        metrics.gallery_sha256(["a\nb"])


def test_label_codes_number_names_alphabetically() -> None:
    assert metrics.label_codes(["pong", "bowling", "pong", "tennis"]).tolist() == [1, 0, 1, 2]
