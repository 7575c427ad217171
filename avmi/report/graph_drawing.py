"""Facts of views and pairs → an SVG drawing: pictures on the left, sounds on the right, pairs between them."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avmi.report.view_facts import PairFacts, ViewFacts, span

# Okabe and Ito's colours, dark enough for white paper and light enough for a dark one.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f")
_WIDTH, _NODE_WIDTH, _NODE_HEIGHT, _ROW, _TOP, _INDENT = 940, 252, 46, 60, 34, 26
_EDGE_PX = 1.7  # width of an edge of weight 1
_THINNEST_PX, _THICKEST_PX = 0.7, 5.0
_BULGE = 110  # how far the arc between two views of one side reaches into the middle
_MOST_LETTERS = 36  # of a text in a node
_MOST_OF_A_NAME = 30  # of its bold first line


@dataclass(frozen=True)
class _Node:
    facts: ViewFacts
    x: float
    y: float
    colour: str

    @property
    def inner(self) -> tuple[float, float]:
        """Where edges start: the side that looks to the middle."""
        is_left = self.facts.modality == "image"
        return self.x + (_NODE_WIDTH if is_left else 0), self.y + _NODE_HEIGHT / 2


def graph_svg(views: Sequence[ViewFacts], pairs: Sequence[PairFacts], *, taps: Mapping[str, str]) -> str:
    """Draw views as boxes and pairs as lines; `taps` names the view whose encoder a feature view taps.

    Colours are encoders; a line is as wide as its weight and dashed where negatives come from the same
    video. Every text is escaped. Lines and letters take the colours of the page around them.
    """
    encoders = list(dict.fromkeys(view.encoder for view in views))
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(encoders)}
    nodes = _nodes(views, taps, colours)
    bottom = max(node.y for node in nodes.values()) + _NODE_HEIGHT
    legend = _legend(colours, views, pairs, y=bottom + 34)
    height = bottom + 62
    edges = "".join(_edge(pair, nodes) for pair in pairs)
    boxes = "".join(_box(node, is_feature=name in taps) for name, node in nodes.items())
    heads = "".join(
        f'<text x="{x}" y="18" class="side" text-anchor="{anchor}">{word}</text>'
        for word, x, anchor, side in (("pictures", 0, "start", "image"), ("sounds", _WIDTH, "end", "audio"))
        if any(view.modality == side for view in views)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="views and their pairs" '
        f'xmlns="http://www.w3.org/2000/svg" style="max-width:{_WIDTH}px">'
        f"<style>{_STYLE}</style>{heads}{edges}{boxes}{legend}</svg>"
    )


def _nodes(
    views: Sequence[ViewFacts], taps: Mapping[str, str], colours: Mapping[str, str]
) -> dict[str, _Node]:
    """Place the views of each side below each other, feature views indented under what they tap."""
    nodes: dict[str, _Node] = {}
    for side in ("image", "audio"):
        signals = [view for view in views if view.modality == side and view.name not in taps]
        row = 0
        for signal in signals:
            tapping = [view for view in views if taps.get(view.name) == signal.name]
            for view in (signal, *tapping):
                indent = _INDENT if view.name in taps else 0
                x = float(indent if side == "image" else _WIDTH - _NODE_WIDTH - indent)
                nodes[view.name] = _Node(view, x, float(_TOP + row * _ROW), colours[view.encoder])
                row += 1
    return nodes


def _box(node: _Node, *, is_feature: bool) -> str:
    view = node.facts
    is_left = view.modality == "image"
    bar = node.x if is_left else node.x + _NODE_WIDTH - 6
    text = node.x + (18 if is_left else 12)
    what = view.what if is_feature else f"{view.what}, {span(view.seconds)}"
    star = " ✱" if view.augmentation else ""
    title = (
        f"{view.name}: {view.what}, {span(view.seconds)}, encoder {view.encoder}, reached by {view.reach:.0%}"
    )
    if view.augmentation:
        title += f", {view.augmentation}"
    hook = ""
    if is_feature:  # a line from the view above to the one that taps it
        start = node.x - 14 if is_left else node.x + _NODE_WIDTH + 14
        end = node.x if is_left else node.x + _NODE_WIDTH
        middle = node.y + _NODE_HEIGHT / 2
        hook = (
            f'<path class="hook" d="M{start:g} {node.y - _ROW + _NODE_HEIGHT:g} V{middle:g} H{end:g}" '
            f'stroke="{node.colour}"/>'
        )
    return (
        f"<g>{hook}<title>{_text(title)}</title>"
        f'<rect class="box" x="{node.x:g}" y="{node.y:g}" width="{_NODE_WIDTH}" height="{_NODE_HEIGHT}" rx="7"/>'
        f'<rect x="{bar:g}" y="{node.y:g}" width="6" height="{_NODE_HEIGHT}" rx="3" fill="{node.colour}"/>'
        f'<text x="{text:g}" y="{node.y + 19:g}" class="name">{_short(view.name, most=_MOST_OF_A_NAME)}{star}</text>'
        f'<text x="{text:g}" y="{node.y + 36:g}" class="what">{_short(what)}</text></g>'
    )


def _edge(facts: PairFacts, nodes: Mapping[str, _Node]) -> str:
    pair = facts.pair
    (x1, y1), (x2, y2) = nodes[pair.first].inner, nodes[pair.second].inner
    first, second = nodes[pair.first].facts.modality, nodes[pair.second].facts.modality
    if first != second:
        middle = (x1 + x2) / 2
        bends = ((middle, y1), (middle, y2))
    else:
        reach = _BULGE + abs(y2 - y1) / 6
        towards = reach if first == "image" else -reach
        bends = ((x1 + towards, y1), (x2 + towards, y2))
    width = min(_THICKEST_PX, max(_THINNEST_PX, _EDGE_PX * math.sqrt(pair.weight)))
    is_dashed = any(pool.pool == "same_video" for pool in pair.negatives)
    dashes = ' stroke-dasharray="7 4"' if is_dashed else ""
    lost = "" if facts.reach else " lost"
    title = (
        f"{pair.first} ~ {pair.second}: weight {pair.weight:g}, bound {pair.bound.name}, negatives {facts.negatives}, "
        f"reached by {facts.reach:.0%}"
    )
    path = f"M{x1:g} {y1:g} C{bends[0][0]:g} {bends[0][1]:g} {bends[1][0]:g} {bends[1][1]:g} {x2:g} {y2:g}"
    return (
        f'<path class="edge{lost}" d="{path}" stroke-width="{width:.2f}"{dashes}>'
        f"<title>{_text(title)}</title></path>"
    )


def _legend(
    colours: Mapping[str, str], views: Sequence[ViewFacts], pairs: Sequence[PairFacts], *, y: float
) -> str:
    parts, x = [], 0.0
    for name, colour in colours.items():
        parts.append(f'<rect x="{x:g}" y="{y - 10:g}" width="12" height="12" rx="3" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18:g}" y="{y:g}" class="what">encoder {_short(name)}</text>')
        x += 18 + 7.2 * len(f"encoder {name}"[:_MOST_LETTERS]) + 22
    weights = {facts.pair.weight for facts in pairs}
    said = ["a line is a pair whose MI is bounded"]
    said += ["as wide as its weight"] if len(weights) > 1 else []
    if any(pool.pool == "same_video" for facts in pairs for pool in facts.pair.negatives):
        said.append("dashed with negatives of the same video")
    said += ["red where no video reaches it"] if any(not facts.reach for facts in pairs) else []
    said += ["✱ is an augmented view"] if any(view.augmentation for view in views) else []
    parts.append(f'<text x="0" y="{y + 22:g}" class="what">{", ".join(said)}</text>')
    return "".join(parts)


def _short(text: str, *, most: int = _MOST_LETTERS) -> str:
    return _text(text if len(text) <= most else text[: most - 1] + "…")


def _text(text: str) -> str:
    return html.escape(text, quote=True)


_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--ink, #1d2125); }
.name { font-weight: 600; } .what { fill: var(--quiet, #626a73); font-size: 12px; }
.side { fill: var(--quiet, #626a73); font-size: 12px; letter-spacing: .04em; }
.box { fill: var(--card, #fff); stroke: var(--line, #e2e4e6); }
.edge { fill: none; stroke: var(--ink, #1d2125); stroke-opacity: .38; } .edge:hover { stroke-opacity: 1; }
.lost { stroke: #c0392b; } .hook { fill: none; stroke-width: 1.5; }
"""
