"""Everything that one walk through the verbs gave → the page that shows it: report.html of the quickstart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avmi.corpus.audit import Audit
from avmi.report.audit import REASONS
from avmi.report.page import (
    Beside,
    Block,
    Card,
    Cell,
    Code,
    Facts,
    Figure,
    Gallery,
    Section,
    Table,
    Text,
    render,
)
from avmi.report.plots import confusion_matrix_png, curves_of, curves_png
from avmi.report.retrieval import ShownQuery, query_blocks
from avmi.types import SPLITS

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Command:
    """A command as it was typed, and how long it took."""

    typed: str
    seconds: float


@dataclass(frozen=True)
class Overview:
    """What the verbs printed and left; None, or empty, what was left out, for a reason in `notes`."""

    source: str
    audit: Audit
    records: Sequence[Json]  # of the run's metrics.jsonl
    retrieval: Json  # as `avmi evaluate retrieval --json` printed it
    queries: Sequence[ShownQuery]
    probes: Mapping[str, Json] = field(default_factory=dict)  # by name, as --json printed them
    commands: Sequence[Command] = ()
    notes: Sequence[str] = ()


def overview_page(overview: Overview) -> str:
    """Build the page."""
    seconds = sum(command.seconds for command in overview.commands)
    minutes = f", {seconds / 60:.1f} min of computing" if overview.commands else ""
    sections = [
        Section("In short", _headlines(overview)),
        Section("Pictures and the sounds that they find", _queries(overview)),
        Section("Retrieval on the test split", _retrieval(overview.retrieval)),
        Section("The moment within a class", _within_label(overview)),
        Section("Classification", _probes(overview.probes)),
        Section("Training", _curves(overview.records)),
        Section("The corpus", _corpus(overview.audit)),
        Section("The commands that made this", [Code(_commands(overview.commands))]),
    ]
    return render(
        "Sight and sound, learned without labels",
        [section for section in sections if section.blocks],
        subtitle=f"{overview.source}{minutes}",
    )


def label_chance(probe: Json | None) -> float | None:
    """Give the same-label share that a random clip would reach, from the classes of a probe's test clips."""
    if probe is None:
        return None
    sizes = np.array(probe["confusion"]["counts"], dtype=np.float64).sum(axis=1)
    return float(((sizes / sizes.sum()) ** 2).sum())


def _headlines(overview: Overview) -> list[Block]:
    found, items = overview.retrieval, list[tuple[str, str | int | float]]()
    if found.get("same_label@1") is not None:
        chance = label_chance(next(iter(overview.probes.values()), None))
        among = "" if chance is None else f" (chance {chance:.2f})"
        items.append((f"same label @1, picture → sound{among}", f"{found['same_label@1']:.3f}"))
    for name, probe in overview.probes.items():
        items.append((f"{name}, top-1 (chance {probe['chance']:.2f})", f"{probe['top1']:.3f}"))
    if not items:
        recall, chance = found["image_to_audio"]["recall@10"], 10 * found["image_to_audio"]["chance"]
        items.append((f"recall@10, picture → sound (chance {min(1.0, chance):.2f})", f"{recall:.3f}"))
    auc = found["within_label"]["auc"]
    if auc is not None:
        items.append(("AUC of the moment within its label (chance 0.50)", f"{auc:.3f}"))
    items.append(("moments in the test gallery", found["gallery"]))
    items.append(("videos, of which trained on", f"{overview.audit.total.videos} / {_trained(overview)}"))
    return [Facts(items), *(Text(note, tone="warning") for note in overview.notes)]


def _trained(overview: Overview) -> int:
    return overview.audit.by_split["train"].videos


def _queries(overview: Overview) -> list[Block]:
    if not overview.queries:
        return []
    text = (
        "Each picture is a frame of a test video that training never saw; beside it are the moments of the "
        "test split whose sound its embedding is nearest to. A score is a cosine, 1 at most. Every player "
        "holds exactly the seconds that are named; the small picture is from their middle."
    )
    if any(query.label for query in overview.queries):
        text += " ✓ stands where the label is the query's: labels were not used in training."
    blocks: list[Block] = [Text(text, tone="quiet")]
    for query in overview.queries:
        blocks += query_blocks(query)
    return blocks


def _retrieval(found: Json) -> list[Block]:
    columns = [
        "query → gallery",
        "recall@1",
        "95 % interval",
        "recall@5",
        "recall@10",
        "median rank",
        "chance@1",
    ]
    rows: list[list[Cell]] = []
    for name, way in (("picture → sound", "image_to_audio"), ("sound → picture", "audio_to_image")):
        values = found[way]
        rows.append(
            [
                name,
                _number(values["recall@1"]),
                _interval(values.get("recall@1_interval")),
                _number(values["recall@5"]),
                _number(values["recall@10"]),
                _number(values["median_rank"], digits=1),
                _number(values["chance"], digits=4),
            ]
        )
    overlap = f"{found['train_overlap']} of its videos were trained on"
    caption = (
        f"Only the very moment counts as found, among {found['gallery']} moments of {found['videos']} videos "
        f"({overlap}). Ties count by their expected rank; intervals are bootstrapped over videos. "
        f"Gallery {found['gallery_sha256'][:12]}."
    )
    blocks: list[Block] = [Table(columns, rows), Text(caption, tone="quiet")]
    if found.get("missing"):
        blocks.append(Text(f"Could not be read: {', '.join(found['missing'])}", tone="warning"))
    return blocks


def _within_label(overview: Overview) -> list[Block]:
    found = overview.retrieval
    if found.get("same_label@1") is None:
        return []
    within, chance = found["within_label"], label_chance(next(iter(overview.probes.values()), None))
    rows: list[list[Cell]] = [
        [
            "same label @1",
            _number(found["same_label@1"]),
            _number(chance),
            "the nearest sound has the picture's label",
        ],
        [
            "recall@1 within the label",
            _number(within["recall@1"]),
            _number(within["chance"]),
            "the moment, among the moments of its own label only",
        ],
        [
            "AUC within the label",
            _number(within["auc"]),
            "0.500",
            "the moment is ranked above another one of its label",
        ],
    ]
    other = found.get("same_label_other_video@1")
    if other is not None:  # there is none where each label has a single video
        meaning = "the same, with the picture's own video hidden"
        rows.insert(1, ["same label @1, other video", _number(other), None, meaning])
    text = (
        "Knowing the class is enough to do well above. Here the gallery holds one class at a time: what is "
        "left is whether the model hears which moment it is."
    )
    return [Text(text, tone="quiet"), Table(["measure", "value", "chance", "meaning"], rows)]


def _probes(probes: Mapping[str, Json]) -> list[Block]:
    if not probes:
        return []
    names = sorted({name for probe in probes.values() for name in probe["per_class"]})
    rows: list[list[Cell]] = [["all", *(_number(probe["top1"]) for probe in probes.values())]]
    rows += [[name, *(_number(probe["per_class"].get(name)) for probe in probes.values())] for name in names]
    rows.append(["chance", *(_number(probe["chance"]) for probe in probes.values())])
    cards = [
        Card(
            name,
            [_confusion(name, probe)],
            note=f"{probe['clips']} clips of {probe['videos']} test videos; rows are the true classes",
        )
        for name, probe in probes.items()
    ]
    text = (
        "Top-1 accuracy on test clips. A probe is a linear classifier on features that it leaves as they are."
    )
    return [Text(text, tone="quiet"), Table(["class", *probes], rows), Gallery(cards, card_rem=20.0)]


def _confusion(name: str, probe: Json) -> Figure:
    confusion = probe["confusion"]
    png = confusion_matrix_png(np.array(confusion["counts"], dtype=np.float64), confusion["classes"])
    return Figure(png, "image/png", alt=f"confusion matrix, {name}")


def _curves(records: Sequence[Json]) -> list[Block]:
    cards = []
    losses, bounds = curves_of(records, prefix="loss"), curves_of(records, prefix="bound_nats/")
    if "train" in losses:
        figure = Figure(
            curves_png(losses["train"], y_label="loss, nats"), "image/png", alt="loss over the steps"
        )
        cards.append(Card("Loss", [figure], note="InfoNCE, the mean over all view pairs"))
    for kind, title in (("train", "Bound in training"), ("valid", "Bound on held-out videos")):
        if kind in bounds:
            png = curves_png(bounds[kind], y_label="mutual information, nats")
            note = "lower bound of every view pair; it cannot rise above its dashed ceiling"
            cards.append(Card(title, [Figure(png, "image/png", alt=title)], note=note))
    return [Gallery(cards, card_rem=20.0)] if cards else []


def _corpus(audit: Audit) -> list[Block]:
    total = audit.total
    facts: list[tuple[str, str | int | float]] = [
        ("usable videos", total.videos),
        ("minutes with picture and sound", f"{total.seconds / 60:.1f}"),
        ("rejected files", audit.rejects),
        ("labels", sum(bool(row.label) for row in audit.by_label)),
    ]
    splits: list[list[Cell]] = [
        [split, audit.by_split[split].videos, f"{audit.by_split[split].seconds / 60:.1f}"] for split in SPLITS
    ]
    narrow: list[Block] = [Table(["split", "videos", "minutes"], splits)]
    peculiar = {
        **{name.replace("_", " "): group.count for name, group in audit.findings.items()},
        "variable frame rate": audit.variable_frame_rate.count,
        "rotated": audit.rotated.count,
    }
    rows: list[list[Cell]] = [[name, count] for name, count in peculiar.items() if count]
    rows += [[REASONS.get(reason, reason), group.count] for reason, group in audit.rejected.items()]
    wide: list[Block] = [Table(["worth knowing", "videos"], rows)] if rows else []
    wide.append(Text("audit.html in the corpus folder has the whole audit.", tone="quiet"))
    return [Facts(facts), Beside(narrow, wide)]


def _commands(commands: Sequence[Command]) -> str:
    width = max((len(f"{command.seconds:.1f}") for command in commands), default=0)
    return "\n".join(f"{command.seconds:>{width}.1f} s  {command.typed}" for command in commands)


def _number(value: float | None, *, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "–" if ends is None else f"{ends[0]:.3f}–{ends[1]:.3f}"
