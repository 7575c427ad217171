"""A plan → every verb run on it, each as a command of its own or kept from an earlier walk, and what it gave."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avmi.corpus.manifest import MANIFEST_FILE, Manifest, read_manifest
from avmi.corpus.source import read_source
from avmi.errors import CorpusError
from data_prep.queries import QueryPicture, write_queries
from data_prep.steps import Done, Output, Results, Step, fingerprint

HITS = 5
TEST_EPISODES = 2
# The ten games were chosen by listening to episodes of seed 0: those tested on are others.
RECORDING_SEED = 1
# The least that training and testing mean anything with: two videos to tell apart, one to choose, one to test.
LEAST_VIDEOS = 4


@dataclass(frozen=True)
class Plan:
    """What the walk is told: where everything goes, over what, and with which settings."""

    folder: Path
    videos: Path | None  # None: a corpus is recorded
    pretrain_config: Path
    finetune_config: Path
    episodes: int
    episode_seconds: float
    games: str  # with commas; empty: the recorder's ten

    @property
    def corpus(self) -> Path:
        """Where `avmi prepare` writes."""
        return self.folder / "corpus"


@dataclass(frozen=True)
class Walked:
    """What the verbs gave."""

    manifest: Manifest
    run: Path  # of pretraining
    retrieval: Output
    probes: Mapping[str, Output]  # by name; empty when there are no classes
    queries: tuple[QueryPicture, ...]
    hits: list[list[dict[str, Any]]]  # of each query, as `avmi retrieve --json` printed them
    note: str  # why something was left out; "" when nothing was
    done: tuple[Done, ...]


def walk(plan: Plan) -> Walked:
    """Run every verb, or keep what an earlier walk gave.

    Raises `StepFailed` when a command fails, `CorpusError` when there are too few videos to learn from.
    """
    _make(plan.folder)
    results = Results(plan.folder)
    prepared = _prepare(plan, results)
    manifest = read_manifest(plan.corpus)
    _require_enough(manifest, prepared)
    run, model = _pretrain(plan, results)
    retrieval = _evaluate(plan, results, run=run, model=model)
    queries = write_queries(manifest, plan.folder / "queries")
    hits = _retrieve(plan, results, run=run, model=model, queries=queries)
    note, probes = _why_no_classes(manifest), dict[str, Output]()
    if note:
        results.forget(["evaluate probe audio", "evaluate probe image", "finetune"])
        print(f"\n{note}", flush=True)
    else:
        probes = _probe(plan, results, run=run, model=model)
    return Walked(manifest, run, retrieval, probes, queries, hits, note, tuple(results.done))


def _prepare(plan: Plan, results: Results) -> Output:
    source = plan.videos or _record(plan, results)
    command = ("avmi", "prepare", str(source), "--out", str(plan.corpus), "--json")
    inputs, manifest = _files_of(source, out=plan.corpus), plan.corpus / MANIFEST_FILE
    step = Step("prepare", command, inputs=inputs, outputs=lambda _: fingerprint(manifest))
    return results.run(step).output


def _record(plan: Plan, results: Results) -> Path:
    """Record play and return its table; finished episodes of an earlier walk are kept."""
    folder, games = plan.folder / "videos", ("--games", plan.games) if plan.games else ()
    numbers: tuple[str, ...] = ("--episodes", str(plan.episodes), "--seconds", f"{plan.episode_seconds:g}")
    numbers += ("--seed", str(RECORDING_SEED))
    if plan.episodes > TEST_EPISODES + 1:
        numbers += ("--test-episodes", str(TEST_EPISODES))
    command = ("python", "-m", "data_prep", "atari", "--out", str(folder), *games, *numbers, "--json")
    table = folder / "videos.csv"

    def left(_: Output) -> str:
        return _files_of(table, out=plan.corpus)

    results.run(Step("record", command, inputs="", outputs=left))
    return table


def _pretrain(plan: Plan, results: Results) -> tuple[Path, str]:
    """Pretrain; return the run folder and a fingerprint of its best model."""
    inputs = fingerprint(plan.corpus / MANIFEST_FILE, plan.pretrain_config)
    run = _run_folder(plan, results, "pretrain", inputs, folder="pretrain")
    settings = (f"corpus={plan.corpus}", f"run={run}")
    command = ("avmi", "pretrain", _typed(plan.pretrain_config), *settings, "--resume", "--json")

    def left(output: Output) -> str:
        return fingerprint(Path(output["checkpoint"]) / "meta.json")

    done = results.run(Step("pretrain", command, inputs=inputs, outputs=left))
    return run, left(done.output)


def _evaluate(plan: Plan, results: Results, *, run: Path, model: str) -> Output:
    command = ("avmi", "evaluate", "retrieval", str(run), str(plan.corpus), "--split", "test", "--json")
    inputs = fingerprint(plan.corpus / MANIFEST_FILE, model)
    return results.run(Step("evaluate retrieval", command, inputs=inputs)).output


def _retrieve(
    plan: Plan, results: Results, *, run: Path, model: str, queries: tuple[QueryPicture, ...]
) -> list[list[dict[str, Any]]]:
    """Index the test split and search it with every picture; return the hits of each."""
    index = plan.folder / "index"
    command = ("avmi", "index", str(run), str(plan.corpus), "--split", "test", "--out", str(index))
    inputs = fingerprint(plan.corpus / MANIFEST_FILE, model)
    written = [index / "info.json", index / "embeddings.parquet"]
    results.run(Step("index", (*command, "--json"), inputs=inputs, outputs=lambda _: fingerprint(*written)))
    if not queries:
        raise CorpusError(f"{plan.corpus}: no video of the test split can be read any more: prepare it again")
    pictures = [word for query in queries for word in ("--image", str(query.path))]
    page = plan.folder / "retrieve.html"
    search = ("avmi", "retrieve", str(index), *pictures, "--k", str(HITS), "--report", str(page), "--json")
    inputs = fingerprint(*written, *(query.path for query in queries))
    output = results.run(Step("retrieve", search, inputs=inputs, outputs=lambda _: fingerprint(page))).output
    return [output["hits"]] if "hits" in output else [one["hits"] for one in output["queries"]]


def _probe(plan: Plan, results: Results, *, run: Path, model: str) -> dict[str, Output]:
    """Classify from frozen features of sound, of pictures, and as the fine-tuning configuration says."""
    inputs, probes = fingerprint(plan.corpus / MANIFEST_FILE, model), {}
    for view in ("audio", "image"):
        command = ("avmi", "evaluate", "probe", str(run), str(plan.corpus), "--split", "test")
        step = Step(f"evaluate probe {view}", (*command, "--view", view, "--json"), inputs=inputs)
        probes[f"{view} probe"] = results.run(step).output
    inputs = fingerprint(inputs, plan.finetune_config)
    tuned = _run_folder(plan, results, "finetune", inputs, folder="probe")
    settings = (f"checkpoint={run}", f"corpus={plan.corpus}", f"run={tuned}")
    tune = ("avmi", "finetune", _typed(plan.finetune_config), *settings, "--resume", "--json")
    picture = tuned / "confusion.png"
    step = Step("finetune", tune, inputs=inputs, outputs=lambda _: fingerprint(picture))
    probes[f"finetune {plan.finetune_config.stem}"] = results.run(step).output
    return probes


def _run_folder(plan: Plan, results: Results, step: str, inputs: str, *, folder: str) -> Path:
    """Choose the run folder: a run of another corpus, model or configuration is not gone on with."""
    plain, other = plan.folder / folder, plan.folder / f"{folder}-{inputs[:8]}"
    if other.exists() or (plain.exists() and results.was_made_from_other(step, inputs)):
        return other
    return plain


def _require_enough(manifest: Manifest, prepared: Output) -> None:
    counts = {split: len(manifest.split(split)) for split in ("train", "valid", "test")}
    if len(manifest) >= LEAST_VIDEOS and counts["train"] >= 2 and counts["valid"] and counts["test"]:
        return
    rejected = sum(prepared["rejected"].values())
    usable = f"{len(manifest)} usable video{'' if len(manifest) == 1 else 's'}"
    raise CorpusError(
        f"{manifest.root} has {usable} ({counts['train']} for training, {counts['valid']} "
        f"for choosing, {counts['test']} for testing; files rejected: {rejected}): that is too few to "
        "learn from; add more videos, twenty or better hundreds, and run this again"
    )


def _why_no_classes(manifest: Manifest) -> str:
    """Say why nothing can be classified; "" when it can."""
    trained, tested = manifest.split("train").labels, manifest.split("test").labels
    if not manifest.labels:
        why = "the videos have no labels"
    elif len(trained) < 2:
        why = f"the training videos have {len(trained)} label, and telling apart takes two"
    elif not set(trained) & set(tested):
        why = "no label of the test videos is among those of the training videos"
    else:
        return ""
    return (
        f"Probes, fine-tuning and same-label figures are left out: {why} "
        "(put the videos of each class into a subfolder of their own to get them)."
    )


def _files_of(source: Path, *, out: Path) -> str:
    """Hash the names, sizes and times of the videos; `avmi prepare` says what is wrong with a source."""
    try:
        return fingerprint([vars(entry) for entry in read_source(source, out=out).entries])
    except CorpusError:
        return ""


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CorpusError(f"{folder} cannot be made ({error.strerror}): give another --out") from error


def _typed(path: Path) -> str:
    """Give a path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
