"""The numbers of an audit → its HTML page, and the few lines that the terminal shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avmi.corpus.audit import Audit, Examples
from avmi.report.audit_findings import findings_section, likenesses_section
from avmi.report.page import Bars, Block, Card, Cell, Facts, Figure, Gallery, Section, Table, Text, render
from avmi.types import SPLITS

_MOST_LABELS = 500
_MOST_ROWS = 12

REASONS = {
    "bad_interval": "the table asks for seconds that are no interval",
    "bad_timestamps": "the timestamps contradict the content",
    "decode_error": "picture or sound cannot be decoded",
    "decoder_crash": "the decoder crashed on it",
    "duplicate": "same content as another file, which is kept",
    "empty_file": "0 bytes",
    "interval_outside": "the file has nothing within the seconds that the table asks for",
    "missing": "listed, but not there",
    "name_not_utf8": "a name that is not UTF-8",
    "no_audio": "no sound in it",
    "no_audio_decoder": "a sound codec that cannot be decoded here",
    "no_video": "no picture in it",
    "no_video_decoder": "a picture codec that cannot be decoded here",
    "not_a_file": "a pipe, device or socket",
    "not_media": "text, a picture, or something else that is no video",
    "split_conflict": "another interval of its file is in another split",
    "time_limit": "probing took too long",
    "too_short": "too little time with what is needed of picture and sound",
    "truncated": "the file was cut off",
    "unreadable": "the system does not let it be read",
}
"""What each reason of a reject means, in a few words."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture out of one video, as JPEG."""

    path: str
    label: str
    note: str
    jpeg: bytes


def audit_page(
    audit: Audit,
    *,
    source: str,
    thumbnails: Sequence[Thumbnail] = (),
    pictures: Mapping[str, bytes] | None = None,
) -> str:
    """Draw the page of an audit of the files in `source`.

    `thumbnails` stand for the corpus; `pictures` (JPEG, by path) are of the examples of findings.
    """
    drawn = pictures or {}
    sections = [
        Section("Overview", _overview(audit)),
        Section("Splits and labels", _labels(audit)),
        Section("Rejected files", _rejects(audit)),
        findings_section(audit, drawn),
        likenesses_section(audit, drawn),
        Section("Worth knowing", _peculiar(audit)),
        Section("Lengths", [Text("Time with both picture and sound."), Bars(audit.durations)]),
        Section("Loudness", [Text("RMS of the mono mix of the whole sound."), Bars(audit.loudness)]),
        Section("Formats", _formats(audit)),
    ]
    if thumbnails:
        cards = [
            Card(
                t.label or "no label",
                [Figure(t.jpeg, "image/jpeg", alt=f"a picture from {t.path}")],
                note=f"{t.path} · {t.note}",
            )
            for t in thumbnails
        ]
        sections.append(Section("Pictures", [Gallery(cards)]))
    return render("Corpus audit", [s for s in sections if s.blocks], subtitle=source)


def _overview(audit: Audit) -> list[Block]:
    return [
        Facts(
            [
                ("usable videos", audit.total.videos),
                ("with picture and sound", _time(audit.total.seconds)),
                ("rejected files", audit.rejects),
                ("ignored: no media by name", audit.ignored),
                ("labels", sum(1 for row in audit.by_label if row.label)),
            ]
        ),
        *[Text(note, tone="warning") for note in audit.notes],
    ]


def _labels(audit: Audit) -> list[Block]:
    split_rows: list[list[Cell]] = [
        [s, audit.by_split[s].videos, _time(audit.by_split[s].seconds)] for s in SPLITS
    ]
    blocks: list[Block] = [Table(["split", "videos", "length"], split_rows)]
    if [row.label for row in audit.by_label] not in ([], [""]):
        rows: list[list[Cell]] = [
            [row.label or "(no label)", *(row.by_split[s] for s in SPLITS), _time(row.seconds)]
            for row in audit.by_label[:_MOST_LABELS]
        ]
        blocks.append(Table(["label", *SPLITS, "length"], rows))
        if len(audit.by_label) > _MOST_LABELS:
            blocks.append(Text(f"and {len(audit.by_label) - _MOST_LABELS} more labels", tone="quiet"))
    return blocks


def _rejects(audit: Audit) -> list[Block]:
    if not audit.rejected:
        return [Text("None.")]
    rows: list[list[Cell]] = []
    for reason, group in audit.rejected.items():
        named: list[Cell] = [reason, group.count, REASONS.get(reason, "")]
        for path, detail in group.examples:
            rows.append([*named, path, detail])
            named = ["", "", ""]
    return [
        Table(["reason", "files", "meaning", "for example", "detail"], rows),
        Text("rejects.parquet beside this page lists every one.", tone="quiet"),
    ]


def _peculiar(audit: Audit) -> list[Block]:
    kinds = [
        ("variable frame rate", "the n-th picture is not at n / rate", audit.variable_frame_rate),
        ("rotated", "pictures are turned upright when decoded", audit.rotated),
    ]
    rows: list[list[Cell]] = [
        [name, group.count, meaning, _examples(group)] for name, meaning, group in kinds
    ]
    blocks: list[Block] = [Table(["what", "videos", "meaning", "for example"], rows)]
    if audit.decord_inexact:
        decord_rows: list[list[Cell]] = [
            [reason, group.count, _examples(group)] for reason, group in audit.decord_inexact.items()
        ]
        blocks += [
            Text("The decoder decord refuses these, because it would give wrong pictures; pyav reads them."),
            Table(["why decord is not exact", "videos", "for example"], decord_rows),
        ]
    return blocks


def _examples(group: Examples) -> str:
    return "; ".join(f"{path} ({what})" if what else path for path, what in group.examples[:3])


def _formats(audit: Audit) -> list[Block]:
    tables = {
        "container / pictures / sound": audit.formats,
        "picture size": audit.picture_sizes,
        "pictures": audit.frame_rates,
        "sample rate": audit.sample_rates,
        "channels": audit.channels,
    }
    blocks: list[Block] = []
    for name, counts in tables.items():
        rows: list[list[Cell]] = [[value, count] for value, count in counts[:_MOST_ROWS]]
        rest = counts[_MOST_ROWS:]
        if rest:
            rows.append([f"{len(rest)} others", sum(count for _, count in rest)])
        blocks.append(Table([name, "videos"], rows))
    return blocks


def audit_lines(audit: Audit) -> str:
    """Say the audit in a few lines of a terminal."""
    total = audit.total.videos + audit.rejects
    lines = [
        f"{audit.total.videos:,} of {total:,} files usable ({_time(audit.total.seconds)} with picture and "
        f"sound), {audit.rejects:,} rejected, {audit.ignored:,} ignored"
    ]
    lines += [
        f"  {split:<6} {share.videos:>7,} videos  {_time(share.seconds):>9}"
        for split, share in audit.by_split.items()
    ]
    labels = [row.label for row in audit.by_label if row.label]
    if labels:
        lines.append(f"  labels {len(labels):>7,}")
    lines += [
        f"  {reason:<18} {group.count:>6,}  {REASONS.get(reason, '')}"
        for reason, group in audit.rejected.items()
    ]
    inexact = sum(group.count for group in audit.decord_inexact.values())
    known = {
        **{name.replace("_", " "): group.count for name, group in audit.findings.items()},
        "variable frame rate": audit.variable_frame_rate.count,
        "rotated": audit.rotated.count,
        "not exact with decord": inexact,
    }
    lines.append("  " + ", ".join(f"{count:,} {name}" for name, count in known.items() if count))
    across = sum(pair.crosses_splits for pair in audit.likenesses)
    if across:
        lines.append(
            f"  {across:,} pairs of videos that are alike lie in different splits: see the audit page"
        )
    lines += [f"  note: {note}" for note in audit.notes]
    return "\n".join(line for line in lines if line.strip())


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
