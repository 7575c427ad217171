"""The whole walk on a tiny corpus; the verbs run in this process, which has torch loaded already."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from corpora import LABELS
from making import make_clip
from rows import video_row
from typer.testing import CliRunner

from avmi.corpus.manifest import Manifest
from avmi.errors import CorpusError
from data_prep import quickstart, steps, walk
from data_prep.steps import Results, StepFailed
from data_prep.walk import Plan, Walked

VERBS = [
    "prepare",
    "pretrain",
    "evaluate retrieval",
    "index",
    "retrieve",
    "evaluate probe audio",
    "evaluate probe image",
    "finetune",
]


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory, tiny_config) -> tuple[Path, Path]:
    """Files that train for four quick steps."""
    folder = tmp_path_factory.mktemp("configs")
    settings = tiny_config(Path("c"), Path("r")).model_dump(mode="json", exclude_unset=True)
    pretrain, finetune = folder / "pretrain.yaml", folder / "finetune.yaml"
    pretrain.write_text(yaml.safe_dump(settings))
    finetune.write_text(
        "checkpoint: c\ncorpus: c\nrun: r\nview: both\ntrain: head\n"
        "data: {workers: 0, evaluation_clips_per_video: 2}\n"
    )
    return pretrain, finetune


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "my videos"
    for label, (colour, tone_hz) in LABELS.items():
        (folder / label).mkdir(parents=True)
        for n in range(6):
            path = folder / label / f"{n}.mp4"
            make_clip(path, seconds=2 + n / 12, colour=colour, tone_hz=tone_hz * (1 + 0.05 * n))
    splits = ("train", "train", "train", "valid", "test", "test")
    rows = [f"{label}/{n}.mp4,{label},{split}" for label in LABELS for n, split in enumerate(splits)]
    (folder / "videos.csv").write_text("\n".join(["path,label,split", *rows]))
    return folder


def run_here(step: steps.Step) -> str:
    """Run a step's command in this process, as `avmi` runs it; return its stdout."""
    from avmi.cli import app
    from avmi.terminal import run

    avmi, *words = step.command
    assert avmi == "avmi"
    if words[0] in ("evaluate", "index"):
        words += ["--workers", "0"]  # starting a process to decode a few clips would take most of the time
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = run(app, words)
    if code:
        raise StepFailed(f"`{step.typed}` ended with exit code {code}", exit_code=code)
    return printed.getvalue()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps that really ran, in order."""
    names: list[str] = []

    def run(step: steps.Step) -> str:
        names.append(step.name)
        return run_here(step)

    monkeypatch.setattr(steps, "_run", run)
    return names


def start(out: Path, videos: Path, configs: tuple[Path, Path]) -> Any:
    return CliRunner().invoke(
        quickstart.app,
        [
            f"--out={out}",
            f"--videos={videos}",
            f"--pretrain-config={configs[0]}",
            f"--finetune-config={configs[1]}",
        ],
    )


@pytest.mark.slow
def test_the_walk_runs_every_verb_and_run_again_keeps_them(
    tmp_path: Path, videos: Path, configs: tuple[Path, Path], ran: list[str]
) -> None:
    result = start(tmp_path / "out", videos / "videos.csv", configs)
    assert result.exit_code == 0, result.output
    assert ran == VERBS
    (folder,) = (tmp_path / "out" / "own").iterdir()
    records = json.loads((folder / "results.json").read_text())
    assert list(records) == VERBS
    for verb in VERBS:
        assert f"$ {records[verb]['command']}" in result.output
    assert records["prepare"]["output"]["usable"] == 18
    assert f"Open the report: {folder / 'report.html'}" in result.output
    numbers = records["evaluate retrieval"]["output"]
    assert f"{numbers['image_to_audio']['recall@1']:.3f}" in result.output

    page = (folder / "report.html").read_text()
    hits = [hit for one in records["retrieve"]["output"]["queries"] for hit in one["hits"]]
    assert len(re.findall(r'src="data:audio/wav', page)) == len(hits)
    assert len(records["retrieve"]["output"]["queries"]) == len(list((folder / "queries").iterdir()))
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    for said in (*LABELS, "Bound in training", "confusion matrix, finetune", "avmi pretrain"):
        assert said in page

    ran.clear()
    again = start(tmp_path / "out", videos / "videos.csv", configs)
    assert again.exit_code == 0, again.output
    assert ran == []
    assert again.output.count("unchanged since the last run, kept") == len(VERBS)

    # What was lost is made again, what stands is kept, and a changed corpus is not trained on half.
    shutil.rmtree(folder / "index")
    assert start(tmp_path / "out", videos / "videos.csv", configs).exit_code == 0
    assert ran == ["index"]
    ran.clear()
    changed = configs[0].read_text().replace("steps: 4", "steps: 2")
    other = tmp_path / "other.yaml"
    other.write_text(changed)
    assert start(tmp_path / "out", videos / "videos.csv", (other, configs[1])).exit_code == 0
    assert ran == [verb for verb in VERBS if verb != "prepare"]
    records = json.loads((folder / "results.json").read_text())
    assert records["pretrain"]["output"]["steps"] == 2
    assert Path(records["pretrain"]["output"]["run"]).name.startswith("pretrain-")
    assert (folder / "pretrain").is_dir()  # the first run is not touched


def test_without_labels_the_walk_says_what_is_left_out(
    tmp_path: Path, videos: Path, configs: tuple[Path, Path], ran: list[str]
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted(videos.rglob("*.mp4"))[:9]:
        shutil.copy(path, flat / f"{path.parent.name}{path.name}")
    result = start(tmp_path / "out", flat, configs)
    assert result.exit_code == 0, result.output
    assert ran == VERBS[:5]
    assert "are left out: the videos have no labels" in result.output
    (report,) = (tmp_path / "out").rglob("report.html")
    assert "are left out: the videos have no labels" in report.read_text()
    assert "same label" not in result.output.replace("same-label", "")


def test_too_few_videos_are_said_to_be_too_few(
    tmp_path: Path, videos: Path, configs: tuple[Path, Path], ran: list[str]
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for n in range(3):
        shutil.copy(videos / "red" / f"{n}.mp4", few)
    (few / "text.mp4").write_text("no video")
    result = start(tmp_path / "out", few, configs)
    assert result.exit_code == 1
    assert ran == ["prepare"]
    assert "3 usable videos" in result.output
    assert "files rejected: 1" in result.output
    assert "add more videos" in result.output


def test_a_failing_verb_ends_the_walk_with_its_exit_code(
    tmp_path: Path, configs: tuple[Path, Path], ran: list[str]
) -> None:
    result = start(tmp_path / "out", tmp_path / "no such folder", configs)
    assert result.exit_code == 1
    assert ran == ["prepare"]
    assert "Traceback" not in result.output


def test_each_source_has_a_folder_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "quickstart"
    first, second = (quickstart.folder_of(out, tmp_path / parent / "my “clips”") for parent in "ab")
    assert quickstart.folder_of(out, None) == out
    assert first != second
    assert first.parent == second.parent == out / "own"
    assert re.fullmatch(r"my_clips-[0-9a-f]{8}", first.name)


@pytest.mark.parametrize(
    ("train", "test", "why"),
    [
        (["", ""], [""], "the videos have no labels"),
        (["a", "a"], ["a"], "1 label"),
        (["a", "b"], ["c"], "no label of the test videos"),
        (["a", "b"], ["b"], ""),
        (["a", "b", ""], ["", "b"], ""),
    ],
)
def test_classes_are_left_out_for_a_reason(train: list[str], test: list[str], why: str) -> None:
    videos = [video_row(f"t{n}.mp4", label=label, split="train") for n, label in enumerate(train)]
    videos += [video_row(f"s{n}.mp4", label=label, split="test") for n, label in enumerate(test)]
    said = walk._why_no_classes(Manifest(Path("/videos"), tuple(videos)))
    assert (why in said) if why else said == ""


@pytest.mark.parametrize(
    ("counts", "is_enough"),
    [((2, 1, 1), True), ((20, 0, 3), False), ((20, 3, 0), False), ((1, 2, 2), False), ((0, 0, 0), False)],
)
def test_enough_is_two_videos_to_train_on_and_one_each_to_choose_and_test(
    counts: tuple[int, int, int], is_enough: bool
) -> None:
    splits = zip(("train", "valid", "test"), counts, strict=True)
    videos = [video_row(f"{split}{n}.mp4", split=split) for split, count in splits for n in range(count)]
    manifest = Manifest(Path("/videos"), tuple(videos))
    with contextlib.nullcontext() if is_enough else pytest.raises(CorpusError, match="too few"):
        walk._require_enough(manifest, {"rejected": {}})


def test_key_numbers_leave_out_what_was_not_measured() -> None:
    way = {"recall@1": 0.25, "chance": 0.125}
    retrieval = {
        "image_to_audio": way,
        "audio_to_image": {**way, "recall@1": 0.5},
        "same_label@1": None,
        "within_label": {"auc": None},
        "gallery": 8,
        "videos": 3,
    }
    walked = Walked(Manifest(Path(), ()), Path(), retrieval, {}, (), [], "", ())
    text = quickstart.key_numbers(walked)
    assert re.search(r"recall@1, picture → sound +0.250 +0.125", text)
    assert re.search(r"recall@1, sound → picture +0.500 +0.125", text)
    assert "label" not in text
    assert "8 moments of 3 test videos" in text


def test_recording_leaves_a_table_of_episodes_with_two_of_each_game_for_the_test(tmp_path: Path) -> None:
    pytest.importorskip("ale_py")
    plan = Plan(tmp_path, None, Path(), Path(), episodes=4, episode_seconds=1.0, games="pong")
    table = walk._record(plan, Results(tmp_path))
    lines = table.read_text().splitlines()
    assert [line.split(",")[2] for line in lines[1:]] == ["train", "valid", "test", "test"]
    assert all((tmp_path / "videos" / line.split(",")[0]).is_file() for line in lines[1:])
    done = Results(tmp_path)
    walk._record(plan, done)
    assert [one.is_kept for one in done.done] == [True]
