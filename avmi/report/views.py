"""A graph, facts about its views and pairs, and a few clips cut into them → the page of `avmi views`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from avmi.config.parts import LogMel
from avmi.config.views import AudioView, FrameView
from avmi.corpus.plan import ClipSpec, SignalView
from avmi.decode.clip import Waveform
from avmi.report.graph_drawing import graph_svg
from avmi.report.moments import wav_bytes
from avmi.report.page import (
    Block,
    Card,
    Cell,
    Drawing,
    Facts,
    Figure,
    Gallery,
    Section,
    Sound,
    Table,
    Text,
    render,
)
from avmi.report.sound_plots import log_mel_png
from avmi.report.view_facts import PairFacts, ViewFacts, span
from avmi.report.view_pictures import frame_view_png
from avmi.views.graph import ViewGraph

# Size at which a page shows spectrograms, so that their letters have the size that they were drawn for.
_SPECTROGRAM_INCHES = (3.1, 1.3)
_CARD_REM, _PAGE_REM = 20.0, 66.0  # a spectrogram and its frame; the page between its margins
_MOST_OFFSETS = 5  # pictures of a stack whose seconds are named one by one


@dataclass(frozen=True)
class Drawn:
    """One draw of one view: what the encoder takes, and for a sound the window that it was made of."""

    tensor: Tensor
    heard: Waveform | None = None


@dataclass(frozen=True)
class ShownClip:
    """One clip: the draws of every view that it reaches, and why it does not reach the others."""

    spec: ClipSpec
    draws: Mapping[str, Sequence[Drawn]]
    missing: Mapping[str, str]


@dataclass(frozen=True)
class ViewsReport:
    """All that the page says beside the clips."""

    graph: ViewGraph
    views: Sequence[ViewFacts]
    pairs: Sequence[PairFacts]
    log_mel: LogMel
    split: str
    videos: int
    warnings: Sequence[str] = ()


def views_page(report: ViewsReport, clips: Sequence[ShownClip], *, source: str) -> str:
    """Build the page of `avmi views --report`."""
    sections = [
        Section("Views", _overview(report, clips)),
        Section("Pairs", _pairs(report)),
        *(Section(_title(number, clip), _clip(report, clip)) for number, clip in enumerate(clips, 1)),
    ]
    return render("Views and pairs", sections, subtitle=source)


def _overview(report: ViewsReport, clips: Sequence[ShownClip]) -> list[Block]:
    rows: list[list[Cell]] = [
        [
            view.name,
            view.what,
            span(view.seconds),
            view.encoder,
            view.augmentation or "none",
            f"{view.reach:.0%}",
        ]
        for view in report.views
    ]
    columns = ["view", "what", "from the anchor", "encoder", "augmentation", "reach"]
    encoders = {view.encoder for view in report.views}
    return [
        Facts(
            [
                ("views", len(report.views)),
                ("pairs", len(report.pairs)),
                ("encoders", len(encoders)),
                (f"videos of {report.split}", report.videos),
                ("clips below", len(clips)),
            ]
        ),
        *(Text(warning, tone="warning") for warning in report.warnings),
        Table(columns, rows),
        Text(
            "Everything below is what the encoders take, before it is normalized: pictures pixel by pixel, "
            "spectrograms bin by bin, with seconds from the anchor. A player holds the very window that its "
            f"spectrogram was made of. Reach is the share of the videos of {report.split} that hold a view together "
            "with one that it is paired with.",
            tone="quiet",
        ),
    ]


def _pairs(report: ViewsReport) -> list[Block]:
    taps = {name: view.of for name, view in report.graph.features.items()}
    rows: list[list[Cell]] = [
        [
            f"{facts.pair.first} ~ {facts.pair.second}",
            facts.pair.bound.name,
            f"{facts.pair.weight:g}",
            facts.negatives,
            facts.pair.places if {facts.pair.first, facts.pair.second} & taps.keys() else "–",
            f"{facts.reach:.0%}",
        ]
        for facts in report.pairs
    ]
    columns = ["pair", "bound", "weight", "negatives", "over places", "reach"]
    return [Drawing(graph_svg(report.views, report.pairs, taps=taps)), Table(columns, rows)]


def _title(number: int, clip: ShownClip) -> str:
    label = f"{clip.spec.video.label}: " if clip.spec.video.label else ""
    return f"Clip {number} · {label}{clip.spec.video.path} around {clip.spec.anchor_seconds:.2f} s"


def _clip(report: ViewsReport, clip: ShownClip) -> list[Block]:
    """Lay out stills, stacks of each depth, and sounds, each kind in cards of its own width."""
    kinds: dict[tuple[str, float], list[Card]] = {}
    for modality in ("image", "audio"):
        for facts in report.views:
            if facts.modality == modality and facts.name not in report.graph.features:
                width = _card_rem(report.graph.signals[facts.name], clip.draws.get(facts.name, ()))
                kinds.setdefault((modality, width), []).append(_card(report, clip, facts))
    return [Gallery(cards, card_rem=width) for (_, width), cards in kinds.items()]


def _card_rem(view: SignalView, draws: Sequence[Drawn]) -> float:
    """Make room for the pictures of a stack at their size, 16 px to a rem, as far as the page is wide."""
    if isinstance(view, AudioView) or view.frames == 1 or not draws:
        return _CARD_REM
    width = draws[0].tensor.shape[-1] * min(view.frames, 8) / 16 + 2
    return min(_PAGE_REM, max(_CARD_REM, width))


def _card(report: ViewsReport, clip: ShownClip, facts: ViewFacts) -> Card:
    view, name = report.graph.signals[facts.name], facts.name
    blocks: list[Block]
    if name in clip.missing:
        blocks = [Text(f"not reached: {clip.missing[name]}", tone="warning")]
    elif isinstance(view, FrameView):
        blocks = [_pictures(clip.draws[name], view, facts)]
    else:
        blocks = []
        for place, drawn in enumerate(clip.draws[name]):
            which = "; another draw" if place else ""
            blocks += _sound(drawn, view, report.log_mel, anchor=clip.spec.anchor_seconds, which=which)
    taps = {feature for feature, tapped in report.graph.features.items() if tapped.of == name}
    blocks += [Text(f"↳ {f.name}: {f.what}", tone="quiet") for f in report.views if f.name in taps]
    return Card(name, blocks)


def _pictures(draws: Sequence[Drawn], view: FrameView, facts: ViewFacts) -> Figure:
    png, contrast = frame_view_png([drawn.tensor for drawn in draws], view)
    size = draws[0].tensor.shape[-1]
    caption = f"{size} × {size} px, {_offsets(view)}"
    if len(draws) > 1:
        caption += f"; {len(draws)} draws of one moment"
    if contrast:
        caption += (
            f"; the middle picture, then on grey what turns lighter or darker from each picture to the next "
            f"(± {contrast:.0%} is white or black)"
        )
    return Figure(png, "image/png", alt=f"view {facts.name}", caption=caption)


def _offsets(view: FrameView) -> str:
    offsets = view.frame_offsets_seconds
    if len(offsets) > _MOST_OFFSETS:
        return f"{len(offsets)} pictures from {span(view.extent_seconds)}"
    return "at " + ", ".join(span((offset, offset)) for offset in offsets)


def _sound(drawn: Drawn, view: AudioView, log_mel: LogMel, *, anchor: float, which: str) -> list[Block]:
    heard = drawn.heard
    assert heard is not None
    start = heard.start_seconds - anchor
    bins, columns = drawn.tensor.shape[-2:]
    spectrogram = drawn.tensor[0].numpy()
    png = log_mel_png(spectrogram, log_mel, start_seconds=start, size_inches=_SPECTROGRAM_INCHES)
    window = span((round(start, 2), round(start + view.window_seconds, 2)))
    caption = f"{bins} × {columns} bins, {window}{which}"
    return [
        Figure(png, "image/png", alt=f"log-mel spectrogram, {window}", caption=caption),
        Sound(wav_bytes(heard), "audio/wav"),
    ]
