"""An index with planted vectors: what a query must find is known before the search."""

import json
import re
import shutil
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from corpora import make_corpus
from PIL import Image

from avmi.checkpoint import save_checkpoint
from avmi.corpus.manifest import read_manifest, write_manifest
from avmi.embedder import load
from avmi.errors import CheckpointError, InputError, SearchIndexError, UsageError
from avmi.index import EmbeddingRow, Provenance, write_index
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.types import Modality
from avmi.workflows.retrieve import retrieve

RATE = 16000


@dataclass(frozen=True)
class World:
    """A corpus, a checkpoint of random weights, an index, and the picture and sound that it answers."""

    folder: Path
    picture: Path
    sound: Path

    @property
    def index(self) -> Path:
        return self.folder / "index"


def random_checkpoint(folder: Path, config, *, seed: int) -> None:
    torch.manual_seed(seed)
    encoders = Encoders(config.views, config.encoders, log_mel=LogMelStatistics(-4.0, 2.0))
    save_checkpoint(folder, encoders, config=config, step=1, metrics={}, train_videos=[])


def tilted(vector: torch.Tensor, degrees: float) -> torch.Tensor:
    """Turn a unit vector by an angle: its cosine with the old one is known."""
    other = torch.roll(vector, 1) - torch.roll(vector, 1).dot(vector) * vector
    angle = torch.deg2rad(torch.tensor(degrees))
    return torch.cos(angle) * vector + torch.sin(angle) * other / other.norm()


def write_sound(path: Path, *, hz: float, seconds: float) -> Path:
    samples = 0.4 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


# Of the picture's hits: how far each sound's vector is turned away from the picture's, in degrees.
SOUNDS: list[tuple[str, float, float, float]] = [  # video, start, end, degrees
    ("red/1.mp4", 0.5, 1.5, 10.0),
    ("blue/2.mp4", 1.25, 2.25, 40.0),
    ("red/1.mp4", 1.75, 2.75, 25.0),
    ("green/0.mp4", 0.0, 1.0, 70.0),
]
PICTURES = [("green/0.mp4", 0.75, 15.0), ("red/1.mp4", 1.5, 60.0)]  # of the sound's hits


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, tiny_config: Callable) -> World:
    folder = tmp_path_factory.mktemp("world")
    corpus = make_corpus(folder, splits=("train", "valid", "test"))
    random_checkpoint(folder / "checkpoint", tiny_config(corpus, folder / "run"), seed=3)
    picture = folder / "query.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)).save(picture)
    world = World(folder, picture, write_sound(folder / "query.wav", hz=500, seconds=2.5))
    plant(world)
    return world


def plant(world: World) -> None:
    """Write the index anew from the vectors that the checkpoint gives the two queries."""
    model = load(world.folder / "checkpoint")
    seen = model.embed_images([world.picture])[0]
    samples = np.sin(2 * np.pi * 500 * np.arange(round(2.5 * RATE)) / RATE) * 0.4
    heard = model.embed_audio(samples.astype(np.float32), sample_rate_hz=RATE)[0]
    labels = {video.path: video.label for video in read_manifest(world.folder / "corpus")}
    rows, vectors = [], []

    def add(video: str, start: float, end: float, kind: Modality, vector: torch.Tensor) -> None:
        clip_id = f"{video}@{round(start * 1000)}"
        rows.append(EmbeddingRow(clip_id, video, start, end, "test", labels[video], kind))
        vectors.append(vector)

    for video, start, end, degrees in SOUNDS:
        add(video, start, end, "audio", tilted(seen, degrees))
    for video, at, degrees in PICTURES:
        add(video, at, at, "image", tilted(heard, degrees))
    write_index(
        world.index,
        [(rows, torch.stack(vectors))],
        provenance=Provenance(
            model.model_hash,
            str(world.folder / "checkpoint"),
            str(world.folder / "corpus"),
            ("image", "sound"),
        ),
    )


@pytest.fixture
def world(pristine: World, tmp_path: Path) -> World:
    """A copy that a test may break; its index names the copy's own corpus and checkpoint."""
    folder = tmp_path / "w"
    shutil.copytree(pristine.folder, folder)
    info = folder / "index" / "info.json"
    info.write_text(info.read_text().replace(str(pristine.folder), str(folder)))
    videos = read_manifest(folder / "corpus").videos
    write_manifest(folder / "corpus", videos, root=folder / "videos")
    return World(folder, folder / "query.png", folder / "query.wav")


def test_a_picture_finds_the_sounds_in_the_order_of_their_cosines(pristine: World) -> None:
    result = retrieve(pristine.index, image=[pristine.picture], k=3).as_json()
    assert list(result) == ["hits"]
    assert [
        (hit["rank"], hit["video"], hit["start_seconds"], hit["end_seconds"]) for hit in result["hits"]
    ] == [
        (1, "red/1.mp4", 0.5, 1.5),
        (2, "red/1.mp4", 1.75, 2.75),
        (3, "blue/2.mp4", 1.25, 2.25),
    ]
    assert [hit["score"] for hit in result["hits"]] == pytest.approx(
        [np.cos(np.deg2rad(degrees)) for degrees in (10, 25, 40)], abs=1e-5
    )
    keys = ["rank", "score", "video", "start_seconds", "end_seconds", "label"]
    assert [list(hit) for hit in result["hits"]] == [keys] * 3
    assert json.loads(json.dumps(result)) == result


def test_a_sound_file_finds_pictures(pristine: World) -> None:
    hits = retrieve(pristine.index, audio=[pristine.sound]).as_json()["hits"]
    assert [(hit["video"], hit["start_seconds"], hit["label"]) for hit in hits] == [
        ("green/0.mp4", 0.75, "green"),
        ("red/1.mp4", 1.5, "red"),
    ]
    assert hits[0]["score"] == pytest.approx(np.cos(np.deg2rad(15)), abs=5e-3)  # 16 bits of the file


def test_several_queries_each_have_their_hits(pristine: World) -> None:
    result = retrieve(pristine.index, image=pristine.picture, audio=pristine.sound, k=1)
    assert [(one["query"], one["hits"][0]["video"]) for one in result.as_json()["queries"]] == [
        (str(pristine.picture), "red/1.mp4"),
        (str(pristine.sound), "green/0.mp4"),
    ]
    text = result.as_text()
    assert f"sounds for {pristine.picture}" in text
    assert f"pictures for {pristine.sound}" in text


def test_one_per_video_keeps_the_best_of_each(pristine: World) -> None:
    hits = retrieve(pristine.index, image=pristine.picture, one_per_video=True).as_json()["hits"]
    assert [hit["video"] for hit in hits] == ["red/1.mp4", "blue/2.mp4", "green/0.mp4"]
    assert hits[0]["start_seconds"] == 0.5


def test_a_video_that_was_moved_keeps_its_hits_and_is_marked(world: World, tmp_path: Path) -> None:
    (world.folder / "videos" / "red" / "1.mp4").rename(tmp_path / "elsewhere.mp4")
    result = retrieve(world.index, image=world.picture, report=tmp_path / "r.html", save_audio=tmp_path / "s")
    hits = result.as_json()["hits"]
    assert [hit["video"] for hit in hits] == ["red/1.mp4", "red/1.mp4", "blue/2.mp4", "green/0.mp4"]
    assert [hit.get("missing") for hit in hits] == [True, True, None, None]
    assert result.as_text().count("(missing)") == 2
    assert (tmp_path / "r.html").read_text().count("no longer where the corpus has it") == 2
    assert sorted(path.name[:2] for path in (tmp_path / "s").iterdir()) == ["03", "04"]


def test_without_the_corpus_every_hit_is_missing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(world.folder / "corpus")
    hits = retrieve(world.index, image=world.picture).as_json()["hits"]
    assert [hit.get("missing") for hit in hits] == [True] * 4
    assert "videos cannot be found" in caplog.text


def test_the_report_holds_every_hit_and_needs_nothing_else(pristine: World, tmp_path: Path) -> None:
    page = tmp_path / "new folder" / "hits.html"
    result = retrieve(pristine.index, image=pristine.picture, audio=pristine.sound, report=page)
    assert result.report == page
    html = page.read_text()
    assert len(re.findall(r'src="data:audio/wav', html)) == 4 + 1  # the sounds found, and the query sound
    assert len(re.findall(r'src="data:image/jpeg', html)) == 1 + 4 + 2  # the query picture, and all hits
    assert not re.search(r"(?:src|href)=\"(?!data:)", html)
    assert [path.name for path in page.parent.iterdir()] == ["hits.html"]


def test_saved_sounds_last_exactly_as_long_as_their_hits(pristine: World, tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    result = retrieve(pristine.index, image=pristine.picture, save_audio=folder)
    names = ["01_1_0.50.wav", "02_1_1.75.wav", "03_2_1.25.wav", "04_0_0.00.wav"]
    assert [path.name for path in result.saved] == names
    assert sorted(path.name for path in folder.iterdir()) == names
    with wave.open(str(folder / names[0])) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
        assert len(samples) / file.getframerate() == 1.0
        rate = file.getframerate()
    # The tone of the second red clip, as tests/corpora.py wrote it.
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * rate / len(samples) == pytest.approx(2000 * 1.03, abs=2)


def test_sounds_of_several_queries_go_into_folders(pristine: World, tmp_path: Path) -> None:
    odd = tmp_path / "-Bild “犬”.png"
    shutil.copy(pristine.picture, odd)
    retrieve(pristine.index, image=[pristine.picture, odd], k=1, save_audio=tmp_path / "s")
    found = sorted(str(path.relative_to(tmp_path / "s")) for path in (tmp_path / "s").rglob("*.wav"))
    assert found == ["01_query/01_1_0.50.wav", "02_Bild_犬/01_1_0.50.wav"]


def test_an_index_of_another_model_is_refused_with_both_hashes(world: World, tiny_config: Callable) -> None:
    before = load(world.folder / "checkpoint").model_hash
    config = tiny_config(world.folder / "corpus", world.folder / "run")
    random_checkpoint(world.folder / "checkpoint", config, seed=4)
    after = load(world.folder / "checkpoint").model_hash
    with pytest.raises(SearchIndexError) as error:
        retrieve(world.index, image=world.picture)
    assert before in str(error.value)
    assert after in str(error.value)
    assert before != after


def test_a_checkpoint_that_is_gone_is_named(world: World) -> None:
    shutil.rmtree(world.folder / "checkpoint")
    with pytest.raises(CheckpointError, match="make the index again") as error:
        retrieve(world.index, image=world.picture)
    assert str(world.folder / "checkpoint") in str(error.value)


def test_what_is_no_picture_or_sound_is_refused(pristine: World, tmp_path: Path) -> None:
    text = tmp_path / "dog.jpg"
    text.write_text("woof")
    short = write_sound(tmp_path / "short.wav", hz=300, seconds=0.4)
    for query, said in (
        ({"image": text}, "is not a picture"),
        ({"image": tmp_path / "gone.png"}, "no such picture"),
        ({"audio": text}, "has no sound"),
        ({"audio": short}, "give a longer one"),
    ):
        with pytest.raises(InputError, match=said):
            retrieve(pristine.index, **query)


def test_a_query_is_needed(pristine: World) -> None:
    with pytest.raises(UsageError, match="--image"):
        retrieve(pristine.index)
    with pytest.raises(UsageError, match="1 or more"):
        retrieve(pristine.index, image=pristine.picture, k=0)
    with pytest.raises(UsageError, match="--image"):
        retrieve(pristine.index, audio=pristine.sound, save_audio="x")


def test_a_place_that_cannot_be_written_is_found_before_the_work(pristine: World, tmp_path: Path) -> None:
    # The index is none: were the work begun, that would be the error.
    nowhere, file = tmp_path / "no index", tmp_path / "file"
    file.write_text("mine")
    (tmp_path / "folder").mkdir()
    for places in (
        {"report": file / "hits.html"},
        {"report": tmp_path / "folder"},
        {"save_audio": file},
        {"save_audio": file / "sounds"},
    ):
        with pytest.raises(UsageError, match="cannot write"):
            retrieve(nowhere, image=pristine.picture, **places)
    assert file.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_without_the_right_to_write_is_found_before_the_work(
    pristine: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # whoever runs the tests may write anywhere
    with pytest.raises(UsageError, match="not writable"):
        retrieve(tmp_path / "no index", image=pristine.picture, report=tmp_path / "new" / "hits.html")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_index_is_refused(pristine: World, tmp_path: Path) -> None:
    with pytest.raises(SearchIndexError):
        retrieve(tmp_path, image=pristine.picture)
