import re
from typing import Any

import numpy as np
import pytest
from rows import video_row

from avmi.corpus.audit import audit
from avmi.corpus.manifest import Reject
from avmi.report.overview import Command, Overview, label_chance, overview_page
from avmi.report.retrieval import ShownQuery


def probe(**changes: Any) -> dict[str, Any]:
    return {
        "top1": 0.8125,
        "chance": 0.375,
        "per_class": {"dog": 0.9375, "cat": 0.6875},
        "clips": 16,
        "videos": 4,
        "confusion": {"classes": ["cat", "dog"], "counts": [[5.0, 1.0], [2.0, 8.0]]},
        **changes,
    }


def retrieval(**changes: Any) -> dict[str, Any]:
    way = {"recall@1": 0.125, "recall@5": 0.4375, "recall@10": 0.5625, "median_rank": 6.5, "chance": 1 / 16}
    return {
        "image_to_audio": {**way, "recall@1_interval": [0.0625, 0.25]},
        "audio_to_image": {**way, "recall@1": 0.1875, "recall@1_interval": None},
        "same_label@1": 0.9375,
        "same_label_other_video@1": 0.8875,
        "within_label": {"recall@1": 0.21, "chance": 0.13, "auc": 0.61},
        "gallery": 16,
        "gallery_sha256": "feedbeef" * 8,
        "videos": 4,
        "train_overlap": 0,
        "missing": [],
        **changes,
    }


def overview(**changes: Any) -> Overview:
    videos = [video_row(path=f"{n}.mp4", video_id=str(n), split=s, label="dog") for n, s in enumerate(SPLITS)]
    records = [
        {
            "step": 10,
            "kind": "train",
            "loss": 2.0,
            "bound_nats/image~sound": 1.0,
            "ceiling_nats/image~sound": 3.0,
        },
        {"step": 20, "kind": "valid", "bound_nats/image~sound": 0.5, "ceiling_nats/image~sound": 2.0},
    ]
    settings: dict[str, Any] = {
        "source": "some videos",
        "audit": audit(videos, [Reject("x.mp4", "no_audio", "detail")], ignored=0),
        "records": records,
        "retrieval": retrieval(),
        "queries": [ShownQuery("a frame", np.full((8, 9, 3), 7, np.uint8), [], [], label="dog")],
        "probes": {"audio probe": probe(), "image probe": probe(top1=0.9912)},
        "commands": [
            Command("avmi prepare videos --out corpus", 12.34),
            Command("avmi pretrain x.yaml", 101.5),
        ],
    }
    return Overview(**{**settings, **changes})


SPLITS = ("train", "train", "train", "valid", "test", "test")


def texts(page: str) -> str:
    text = re.sub(r"(?s)<(style|script)>.*?</\1>", "", page)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))


def test_the_numbers_of_every_verb_are_on_the_page() -> None:
    text = texts(overview_page(overview()))
    for said in (
        "0.938 same label @1, picture → sound (chance 0.53)",
        "picture → sound 0.125 0.062–0.250 0.438 0.562 6.5 0.0625",
        "sound → picture 0.188 – 0.438",
        "16 moments of 4 videos",
        "feedbeeffeed",
        "same label @1, other video 0.887",
        "recall@1 within the label 0.210 0.130",
        "AUC within the label 0.610 0.500",
        "all 0.812 0.991",
        "cat 0.688 0.688",
        "chance 0.375 0.375",
        "no sound in it 1",
        "train 3",
        "12.3 s avmi prepare videos --out corpus",
        "101.5 s avmi pretrain x.yaml",
    ):
        assert said in text, said


def test_without_a_second_video_of_a_label_there_is_no_other_video_to_find() -> None:
    found = retrieval(**{"same_label_other_video@1": None})
    assert "other video" not in texts(overview_page(overview(retrieval=found)))


def test_curves_and_confusions_are_drawn() -> None:
    page = overview_page(overview())
    alts = re.findall(r'alt="([^"]*)"', page)
    for alt in (
        "loss over the steps",
        "Bound in training",
        "Bound on held-out videos",
        "confusion matrix, audio probe",
        "confusion matrix, image probe",
    ):
        assert alts.count(alt) == 1


def test_without_labels_the_page_says_what_is_left_out_and_why() -> None:
    nothing = {"recall@1": None, "chance": None, "auc": None}
    found = retrieval(**{"same_label@1": None, "same_label_other_video@1": None, "within_label": nothing})
    text = texts(overview_page(overview(retrieval=found, probes={}, notes=["left out: no labels"])))
    assert "left out: no labels" in text
    assert "same label" not in text
    assert "Classification" not in text
    assert "0.562 recall@10, picture → sound (chance 0.62)" in text


def test_videos_seen_in_training_and_videos_that_failed_are_told() -> None:
    text = texts(overview_page(overview(retrieval=retrieval(train_overlap=2, missing=["<b>.mp4"]))))
    assert "2 of its videos were trained on" in text
    assert "Could not be read: &lt;b&gt;.mp4" in text


def test_a_run_that_logged_nothing_has_no_training_section() -> None:
    assert "Bound in training" not in texts(overview_page(overview(records=[])))


def test_chance_of_the_same_label_is_the_sum_of_squared_shares() -> None:
    confusion = {"classes": ["a", "b", "c"], "counts": [[1.0, 1, 0], [0, 5, 0], [0, 0, 3]]}
    assert label_chance(probe(confusion=confusion)) == pytest.approx(0.2**2 + 0.5**2 + 0.3**2)
    assert label_chance(None) is None
