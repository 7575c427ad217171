"""The findings of an audit, and pictures of examples → the sections of its page that show them."""

from collections.abc import Mapping, Sequence

from avmi.corpus.audit import Audit
from avmi.corpus.findings import MISMATCH_SECONDS, SHORT_SECONDS, Likeness
from avmi.corpus.manifest import Video
from avmi.report.page import Block, Card, Cell, Code, Figure, Gallery, Section, Table, Text
from avmi.types import Finding

_MOST_PAIRS = 12
_MOST_CARDS = 4  # of a finding: a row of the page

MEANINGS: Mapping[Finding, str] = {
    "silent": "the mono mix never rises above −60 dBFS",
    "still": "the picture does not move",
    "short": f"shorter than {SHORT_SECONDS:g} s, the shortest window in use",
    "offset": f"the sound begins more than {MISMATCH_SECONDS:g} s before or after the pictures: "
    "look whether they still belong together",
    "length_mismatch": f"the sound ends more than {MISMATCH_SECONDS:g} s before or after the pictures",
    "near_duplicate": "the same recording as another video, encoded or cut anew",
}
"""What each finding means, in a few words."""

_LIKENESSES = {
    "recording": "same recording",
    "sound": "same sound, other pictures",
    "pictures": "same pictures, other sound",
}


def findings_section(audit: Audit, pictures: Mapping[str, bytes]) -> Section:
    """Show what is questionable about usable videos: counts, examples with pictures, how to leave them out."""
    found = {name: group for name, group in audit.findings.items() if group.count}
    if not found:
        return Section("Findings", [Text("Nothing questionable among the usable videos.")])
    share = 100 / max(1, audit.total.videos)
    rows: list[list[Cell]] = [
        [name, group.count, f"{group.count * share:.1f} %", MEANINGS[name]] for name, group in found.items()
    ]
    blocks: list[Block] = [
        Table(["finding", "videos", "share", "meaning"], rows),
        Text(
            "They stay in the manifest (column findings). A run leaves out what it names; so does "
            "Manifest.without in Python:"
        ),
        Code(f"avmi pretrain CONFIG data.exclude=[{','.join(found)}]"),
    ]
    for name, group in found.items():
        if name == "near_duplicate":
            continue  # shown in pairs
        cards = [_card(path, note, pictures, title=name) for path, note in group.examples[:_MOST_CARDS]]
        blocks.append(Gallery(cards))
    return Section("Findings", blocks)


def likenesses_section(audit: Audit, pictures: Mapping[str, bytes]) -> Section:
    """Show the pairs of videos that are alike, those across splits first."""
    pairs = audit.likenesses
    if not pairs:
        return Section("Near-duplicates", [Text("None found, by sound marks and by pictures.")])
    across = sum(pair.crosses_splits for pair in pairs)
    blocks: list[Block] = []
    if across:
        blocks.append(
            Text(
                f"{across:,} of {len(pairs):,} pairs lie in different splits: what is measured there was seen in "
                "training. Leave out near_duplicate.",
                tone="warning",
            )
        )
    rows: list[list[Cell]] = [_row(pair) for pair in pairs[:_MOST_PAIRS]]
    columns = ["how", "first", "split", "second", "split", "same moment in the second", "agreeing marks"]
    blocks.append(Table(columns, rows))
    if len(pairs) > _MOST_PAIRS:
        blocks.append(
            Text(f"and {len(pairs) - _MOST_PAIRS:,} more pairs; the manifest names them", tone="quiet")
        )
    for pair in pairs[: _MOST_PAIRS // 2]:
        title = _LIKENESSES[pair.match.likeness]
        cards = [
            _card(v.path, f"{v.label or 'no label'}, {v.split}", pictures, title=title) for v in _ends(pair)
        ]
        blocks.append(Gallery(cards))
    return Section("Near-duplicates", blocks)


def pictured_paths(audit: Audit) -> list[str]:
    """List the videos whose pictures these sections show."""
    paths = [
        path
        for name, group in audit.findings.items()
        if name != "near_duplicate"
        for path, _ in group.examples[:_MOST_CARDS]
    ]
    paths += [v.path for pair in audit.likenesses[: _MOST_PAIRS // 2] for v in _ends(pair)]
    return list(dict.fromkeys(paths))


def _ends(pair: Likeness) -> tuple[Video, Video]:
    return pair.first, pair.second


def _row(pair: Likeness) -> list[Cell]:
    match = pair.match
    heard = match.share > 0
    return [
        _LIKENESSES[match.likeness],
        pair.first.path,
        pair.first.split,
        pair.second.path,
        pair.second.split,
        f"{-match.offset_seconds:+.2f} s" if heard else "",
        f"{100 * match.share:.0f} %" if heard else "",
    ]


def _card(path: str, note: str, pictures: Mapping[str, bytes], *, title: str) -> Card:
    blocks: Sequence[Block] = (
        [Figure(pictures[path], "image/jpeg", alt=f"a picture from {path}")] if path in pictures else []
    )
    return Card(title, blocks, note=f"{path} · {note}")
