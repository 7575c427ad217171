"""A recorded corpus, or a folder of the user's videos → the product's verbs run on it, and report.html.

`make quickstart` calls this. Every verb runs as the command that it prints. Run again, it keeps what stands.
"""

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avmi.corpus.audit import audit
from avmi.corpus.manifest import read_rejects
from avmi.errors import AvmiError
from data_prep.steps import fingerprint
from data_prep.walk import Plan, Walked, walk

if TYPE_CHECKING:
    from avmi.report.retrieval import ShownQuery

# Eight episodes of each game, of which five train, one chooses and two test: with a single test video of a
# class nobody could tell whether a hit shows the class or just the same video.
EPISODES, EPISODE_SECONDS = 8, 10.0

_CONFIGS = Path(__file__).resolve().parents[1] / "configs"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("quickstart"),
    videos: Annotated[
        Path | None,
        typer.Option(help="Folder of videos (class = subfolder) or CSV, in place of recorded play."),
    ] = None,
    pretrain_config: Annotated[Path, typer.Option(help="Configuration of `avmi pretrain`.")] = _CONFIGS
    / "pretrain"
    / "quickstart.yaml",
    finetune_config: Annotated[Path, typer.Option(help="Configuration of `avmi finetune`.")] = _CONFIGS
    / "finetune"
    / "quickstart_probe.yaml",
    episodes: Annotated[int, typer.Option(help="Recorded episodes of each game.")] = EPISODES,
    seconds: Annotated[float, typer.Option(help="Length of a recorded episode.")] = EPISODE_SECONDS,
    games: Annotated[str, typer.Option(help="Recorded games, with commas; default: ten.")] = "",
) -> None:
    """Walk through every verb of avmi over recorded play, or over your own videos."""
    begun = time.monotonic()
    source = None if videos is None else videos.expanduser()
    plan = Plan(
        folder=folder_of(out, source),
        videos=source,
        pretrain_config=pretrain_config,
        finetune_config=finetune_config,
        episodes=episodes,
        episode_seconds=seconds,
        games=games,
    )
    try:
        walked = walk(plan)
        print("\nwriting the report", flush=True)
        report = write_report(plan, walked)
    except AvmiError as error:
        print(f"quickstart: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        print("quickstart: stopped; run it again to go on from here", file=sys.stderr)
        raise typer.Exit(130) from None
    print(key_numbers(walked))
    print(f"\n{time.monotonic() - begun:.0f} s in all. Open the report: {report}", flush=True)


def folder_of(out: Path, videos: Path | None) -> Path:
    """Choose the folder of a source below `out`, so that no two sources are mixed up."""
    if videos is None:
        return out
    whole = videos.resolve()
    name = re.sub(r"[^\w.-]+", "_", whole.stem).strip("-._")[:40] or "videos"
    return out / "own" / f"{name}-{fingerprint(str(whole))[:8]}"


def write_report(plan: Plan, walked: Walked) -> Path:
    """Show what a walk gave as one page, and return its path."""
    # Here, because these import torch, which the walk itself does without.
    from avmi.report.overview import Command, Overview, overview_page
    from avmi.report.page import write_page
    from avmi.training.watching.log import read_metrics

    play = "emulated play with its own sound, recorded here"
    page = overview_page(
        Overview(
            source=play if plan.videos is None else str(plan.videos),
            audit=audit(walked.manifest.videos, read_rejects(plan.corpus), ignored=0),
            records=read_metrics(walked.run / "metrics.jsonl"),
            retrieval=walked.retrieval,
            queries=_shown(walked),
            probes=walked.probes,
            commands=[Command(done.typed, done.seconds) for done in walked.done],
            notes=[walked.note] if walked.note else [],
        )
    )
    path = plan.folder / "report.html"
    write_page(path, page)
    return path


def _shown(walked: Walked) -> "list[ShownQuery]":
    from avmi.index import Hit
    from avmi.report.moments import find_videos, read_moments
    from avmi.report.retrieval import PLAYER_HZ, ShownQuery

    keys = ("rank", "score", "video", "start_seconds", "end_seconds", "label")
    shown = []
    for query, printed in zip(walked.queries, walked.hits, strict=True):
        hits = [Hit(**{key: hit[key] for key in keys}, clip_id="", split="test") for hit in printed]
        videos = find_videos(hits, walked.manifest)
        moments = read_moments(hits, walked.manifest, videos=videos, most_hz=PLAYER_HZ)
        name = f"a frame of {query.video}"
        shown.append(
            ShownQuery(name, query.pixels, hits=hits, moments=moments, label=query.label, video=query.video)
        )
    return shown


def key_numbers(walked: Walked) -> str:
    """Lay out the numbers that a reader looks for first."""
    rows: list[tuple[str, float | None, float | None]] = []
    retrieval, within = walked.retrieval, walked.retrieval["within_label"]
    rows.append(("same label @1, picture → sound", retrieval["same_label@1"], None))
    for name, way in (("picture → sound", "image_to_audio"), ("sound → picture", "audio_to_image")):
        rows.append((f"recall@1, {name}", retrieval[way]["recall@1"], retrieval[way]["chance"]))
    rows.append(("AUC within the label", within["auc"], 0.5))
    rows += [(f"{name}, top-1", probe["top1"], probe["chance"]) for name, probe in walked.probes.items()]
    lines = [f"\n{'':<34} value   chance"]
    for name, value, chance in rows:
        if value is not None:
            lines.append(f"{name:<34} {value:.3f}   {'' if chance is None else f'{chance:.3f}'}")
    new = sum(one.seconds for one in walked.done if not one.is_kept)
    lines.append(
        f"gallery: {retrieval['gallery']} moments of {retrieval['videos']} test videos; {new:.0f} s of computing"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    app()
