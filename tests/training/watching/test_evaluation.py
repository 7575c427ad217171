"""Held-out clips and encoders → bounds and retrieval, against what each clip alone and each pair alone give."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rows import video_row
from torch import Tensor
from torch.nn.functional import normalize

from avmi.config.pair_settings import NegativePool, PairSettings
from avmi.config.parts import Temperature
from avmi.corpus.plan import ClipSpec
from avmi.data import Batch
from avmi.mi.bounds import info_nce
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.objective import Objective
from avmi.objective.joined import Joined
from avmi.training.watching.evaluation import Embedded, HeldOut, embed_held_out, evaluate
from avmi.training.watching.loss_scalars import COLUMNS
from avmi.views.graph import ViewGraph, graph_of

VIEWS: dict[str, Any] = {
    "image": {"kind": "frame"},
    "sound": {"kind": "audio", "window_seconds": 0.5},
    "late": {"kind": "audio", "at_seconds": 2.0, "window_seconds": 0.5},
    "later": {"kind": "audio", "at_seconds": 9.0, "window_seconds": 0.5},
    "image_mid": {"kind": "feature", "of": "image", "layer": "stage3", "grid": 2},
    "late_mid": {"kind": "feature", "of": "late", "layer": "stage4"},
}
CPU = torch.device("cpu")
OF_VIEWS = ("uniformity", "effective_rank", "embedding_deviation")


@pytest.fixture
def model(tiny_config: Any, tmp_path: Path) -> tuple[Encoders, ViewGraph]:
    torch.manual_seed(0)
    config = tiny_config(tmp_path, tmp_path / "run", views=VIEWS, pairs="all")
    encoders = Encoders(config.views, config.encoders, log_mel=LogMelStatistics(-4.0, 2.0))
    return encoders, graph_of(config)


def batch_of(*labels: str, late: list[int], first_video: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    clips = len(labels)
    views = {
        "image": torch.randint(0, 256, (clips, 3, 32, 32), generator=generator, dtype=torch.uint8),
        "sound": torch.randn(clips, 1, 16, 48, generator=generator),
    }
    rows = {"image": torch.arange(clips), "sound": torch.arange(clips)}
    if late:
        views["late"] = torch.randn(len(late), 1, 16, 48, generator=generator)
        rows["late"] = torch.tensor(late)
    return Batch(
        views=views,
        rows=rows,
        videos=first_video + torch.arange(clips) // 2,
        seconds=torch.arange(clips) / 4 + seed,
        specs=tuple(
            ClipSpec(video_row(f"{n}.mp4", label=label), 0.0, ("image",), (0.0,), None)
            for n, label in enumerate(labels)
        ),
    )


BATCHES = (
    batch_of("ant", "bee", "ant", late=[2, 0], first_video=0, seed=1),
    batch_of("cow", "bee", late=[], first_video=5, seed=2),
)


def test_batches_without_clips_are_left_out() -> None:
    empty = Batch({}, {}, torch.zeros(0, dtype=torch.long), torch.zeros(0), ())
    held_out = HeldOut.decode([empty, *BATCHES])
    assert held_out.batches == BATCHES
    assert len(held_out) == 5


def test_every_clip_is_embedded_as_it_is_alone_and_stands_in_its_row(
    model: tuple[Encoders, ViewGraph],
) -> None:
    encoders, graph = model
    encoders.train()
    embedded = embed_held_out(encoders, HeldOut(BATCHES), graph=graph, device=CPU)
    assert encoders.training
    assert embedded.labels == ("ant", "bee", "ant", "cow", "bee")
    joined = embedded.joined
    assert {name: mask.tolist() for name, mask in joined.present.items()} == {
        "image": [True] * 5,
        "sound": [True] * 5,
        "late": [True, False, True, False, False],
        "later": [False] * 5,
        "image_mid": [True] * 5,
        "late_mid": [True, False, True, False, False],
    }
    assert joined.videos is not None
    assert joined.seconds is not None
    assert joined.videos.tolist() == [0, 0, 1, 5, 5]
    assert joined.seconds.tolist() == [1.0, 1.25, 1.5, 2.0, 2.25]
    with torch.no_grad():
        picture = encoders.eval()({"image": BATCHES[1].views["image"][1:]})
        sound = encoders({"late": BATCHES[0].views["late"][:1]})  # the first is that of the third clip
    for name, row, expected in (("image", 4, picture), ("image_mid", 4, picture), ("late", 2, sound)):
        found = joined.embeddings[name][row]
        torch.testing.assert_close(found, expected[name][0].reshape(found.shape), atol=1e-6, rtol=1e-5)
    assert joined.embeddings["image_mid"].shape == (5, 4, 12)
    assert joined.embeddings["later"].shape == (5, 1, 12)


def unit(*shape: int, seed: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def embedded_of(image: Tensor, sound: Tensor, /, *, labels: str, **present: Tensor) -> Embedded:
    everywhere = torch.ones(len(image), dtype=torch.bool)
    views = {"image": image[:, None], "sound": sound[:, None], "late": sound[:, None]}
    return Embedded(
        Joined(
            views,
            {name: present.get(name, everywhere) for name in views},
            videos=torch.arange(len(image)) // 2,
            seconds=torch.arange(len(image)) * 1.0,
        ),
        tuple(labels),
    )


def objective_of(tiny_config: Any, folder: Path, pairs: Any) -> Objective:
    views = {name: VIEWS[name] for name in ("image", "sound", "late")}
    config = tiny_config(folder, folder / "run", views=views, pairs=pairs, data={"clips_per_video": 2})
    return Objective(graph_of(config), temperature=Temperature(initial=0.2))


PAIRS = (
    PairSettings(
        views=("image", "sound"),
        weight=3,
        negatives=(NegativePool(pool="other_videos", weight=2), NegativePool(pool="same_video")),
    ),
    PairSettings(views=("image", "late"), temperature=Temperature(initial=0.5)),
)


def test_the_number_of_a_checkpoint_is_the_weighted_mean_of_the_bounds(
    tiny_config: Any, tmp_path: Path
) -> None:
    image, sound = unit(6, 4, seed=0), unit(6, 4, seed=1)
    objective = objective_of(tiny_config, tmp_path, PAIRS)
    scalars = evaluate(embedded_of(image, sound, labels="aabbcc"), objective)
    same = torch.arange(6)[:, None] // 2 == torch.arange(6) // 2
    scores = image @ sound.T
    others = info_nce(scores / 0.2, negatives=~same).value_nats
    moments = info_nce(scores / 0.2, negatives=same).value_nats
    warm = info_nce(scores / 0.5, negatives=~same).value_nats
    found = {name: value for name, value in scalars.items() if name.startswith("bound_nats/")}
    assert found == {
        "bound_nats/image~sound": pytest.approx(float(others), abs=1e-5),
        "bound_nats/image~sound@same_video": pytest.approx(float(moments), abs=1e-5),
        "bound_nats/image~late": pytest.approx(float(warm), abs=1e-5),
    }
    assert scalars["ceiling_nats/image~sound"] == pytest.approx(math.log(5), abs=1e-5)
    assert scalars["ceiling_nats/image~sound@same_video"] == pytest.approx(math.log(2), abs=1e-5)
    assert scalars["bound_nats"] == pytest.approx(float((2 * others + moments + warm) / 4), abs=1e-5)


def test_a_pair_that_no_held_out_clip_has_is_neither_named_nor_counted(
    tiny_config: Any, tmp_path: Path
) -> None:
    nowhere = torch.zeros(6, dtype=torch.bool)
    embedded = embedded_of(unit(6, 4, seed=0), unit(6, 4, seed=1), labels="aabbcc", late=nowhere)
    pairs = (PairSettings(views=("image", "sound")), PairSettings(views=("image", "late"), weight=9))
    scalars = evaluate(embedded, objective_of(tiny_config, tmp_path, pairs))
    assert not [name for name in scalars if "late" in name]
    assert scalars["bound_nats"] == scalars["bound_nats/image~sound"]
    empty = embedded_of(unit(6, 4, seed=0), unit(6, 4, seed=1), labels="aabbcc", late=nowhere, image=nowhere)
    without = evaluate(empty, objective_of(tiny_config, tmp_path, pairs))
    assert without.pop("bound_nats") == 0.0
    assert set(without) == {f"{kind}/sound" for kind in OF_VIEWS} | {"uniform_deviation"}


def test_retrieval_is_that_of_the_clips_that_have_both_views(tiny_config: Any, tmp_path: Path) -> None:
    # Each picture prefers the sound before its own, but for the first, whose is not there, and the fifth.
    image = torch.eye(6)
    sound = normalize(torch.eye(6) + 1.5 * torch.eye(6).roll(1, 1), dim=1)
    sound[4] = torch.eye(6)[4]
    there = torch.tensor([True] * 5 + [False])
    pairs = (PairSettings(views=("sound", "image")), PairSettings(views=("image", "late")))
    embedded = embedded_of(image, sound, labels="aabbaz", sound=there)
    scalars = evaluate(embedded, objective_of(tiny_config, tmp_path, pairs))
    ranks = [1, 2, 2, 2, 1]
    assert scalars["image_to_audio/recall@1"] == pytest.approx(sum(rank == 1 for rank in ranks) / 5)
    assert scalars["image_to_audio/recall@5"] == 1.0
    assert scalars["image_to_audio/median_rank"] == 2
    # Of labels a, a, b, b and a the pictures find those of sounds 0, 0, 1, 2 and 4.
    assert scalars["same_label@1"] == pytest.approx(4 / 5)


def test_a_graph_of_one_side_is_bounded_and_retrieves_nothing(tiny_config: Any, tmp_path: Path) -> None:
    views = {name: VIEWS[name] for name in ("sound", "late")}
    config = tiny_config(tmp_path, tmp_path / "run", views=views, pairs="all")
    objective = Objective(graph_of(config), temperature=Temperature())
    scalars = evaluate(embedded_of(unit(4, 3, seed=0), unit(4, 3, seed=1), labels="abcd"), objective)
    of_pair = {f"{kind}/sound~late" for kind in (*COLUMNS, "cosine_ceiling_nats", "saturated", "alignment")}
    of_views = {f"{kind}/{view}" for kind in OF_VIEWS for view in ("image", "sound", "late")}
    assert set(scalars) == {"bound_nats", "uniform_deviation"} | of_pair | of_views
