"""A corpus of N rows without any video → CPU time and peak memory of what one process does at the end of `prepare`.

Run by hand: `python -m benchmarks.media.driver [FOLDER] [--sizes 100000,300000] [--json]`; FOLDER holds clips with sound
(default: the UCF101 clips beside the project). Some of them are probed, and every row repeats what was found of one,
with a content and marks of its own (drawn as `near_duplicates.py` here does). A process for each size; memory is its peak up
to the end of each step, so a step that needs less than those before it shows nothing of its own.
"""

import io
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from avmi.corpus.assemble import assemble
from avmi.corpus.audit import audit
from avmi.corpus.findings import with_findings
from avmi.corpus.fingerprint import from_text
from avmi.corpus.journal import JOURNAL_FILE, Journal
from avmi.corpus.manifest import MANIFEST_FILE, read_manifest, write_manifest
from avmi.corpus.packet_file import PACKETS_FILE, write_packets
from avmi.corpus.pool import Outcome, ProbePool
from avmi.corpus.probing import packet_rows, probe_all, stamp
from avmi.corpus.source import Entry, Source
from avmi.decode.probe import probe
from benchmarks.media.near_duplicates import UCF101, drawn, peak_gigabytes

SIZES = (100_000, 300_000)
PROBED = 300
LIMIT_SECONDS = 30.0


def main() -> None:
    arguments = sys.argv[1:]
    folder = Path(next((a for a in arguments[:1] if not a.startswith("--")), UCF101))
    sizes = SIZES
    if "--sizes" in arguments:
        sizes = tuple(int(size) for size in arguments[arguments.index("--sizes") + 1].split(","))
    if "--write" in arguments:
        write(folder, Path(arguments[arguments.index("--write") + 1]), sizes[0])
        return
    if "--one" in arguments:
        print(json.dumps(measured(Path(arguments[arguments.index("--one") + 1]), sizes[0])))
        return
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="avmi_driver_") as work:
            command = [sys.executable, "-m", "benchmarks.media.driver", str(folder), "--sizes", str(size)]
            subprocess.run([*command, "--write", work], check=True)
            done = subprocess.run([*command, "--one", work], stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout))
        if "--json" not in arguments:
            print(as_text(rows[-1]), flush=True)
    if "--json" in arguments:
        print(json.dumps(rows, indent=1))


def as_text(row: dict[str, object]) -> str:
    steps, sizes = row["steps"], row["bytes"]
    assert isinstance(steps, dict)
    assert isinstance(sizes, dict)
    lines = [f"{row['rows']:,} rows"]
    lines += [
        f"  {name:<48} {step['cpu_seconds']:>8.1f} CPU-s {step['peak_gigabytes']:>6.2f} GB"
        for name, step in steps.items()
    ]
    lines += [f"  {name:<48} {size / 1e9:>8.2f} GB" for name, size in sizes.items()]
    return "\n".join(lines)


def entry_of(number: int) -> Entry:
    return Entry(f"{number % 1000:03d}/{number:07d}.mp4", f"{number % 1000:03d}", None, 700_000, number)


def write(folder: Path, work: Path, size: int) -> None:
    """Write the journal of a corpus that was probed whole."""
    paths = sorted(folder.rglob("*.mp4"))[: 2 * PROBED]
    facts = [found for path in paths if len((found := probe(path))["sound_marks"]) >= 320][:PROBED]
    rng = np.random.default_rng(0)
    sounds = drawn([from_text(found["sound_marks"]) for found in facts], size, rng)
    (work / "corpus").mkdir()
    begun = time.process_time()
    with Journal(work / "corpus", stamp=stamp(), time_limit_seconds=LIMIT_SECONDS) as journal:
        for number, (found, sound) in enumerate(zip(itertools.cycle(facts), sounds, strict=False)):
            own = {
                **found,
                "content_hash": blake2b(str(number).encode(), digest_size=32).hexdigest(),
                "sound_marks": sound.as_text(),
                "picture_hashes": rng.integers(0, 1 << 62, 5).tolist(),
            }
            journal.add(entry_of(number), Outcome(own))
    print(f"drew and wrote {size:,} rows: {time.process_time() - begun:.0f} CPU-s", file=sys.stderr)


def measured(work: Path, size: int) -> dict[str, object]:
    """Go through the steps of `prepare` over what the journal holds."""
    corpus, steps = work / "corpus", {}
    files = Source(work, tuple(entry_of(number) for number in range(size)), (), 0)

    def timed(name: str) -> Iterator[None]:
        begun = time.process_time()
        yield
        steps[name] = {
            "cpu_seconds": time.process_time() - begun,
            "peak_gigabytes": peak_gigabytes(),
        }

    for _ in timed("read the journal"):
        journal = Journal(corpus, stamp=stamp(), time_limit_seconds=LIMIT_SECONDS)
    pool = ProbePool([], workers=1, time_limit_seconds=LIMIT_SECONDS)
    for _ in timed("recall what was found of every file"):
        found, probed = probe_all(files, journal, pool, io.StringIO())
    assert probed == 0
    for _ in timed("assemble rows: same contents, splits"):
        made = assemble(found, earlier=(), fractions=(0.8, 0.1, 0.1))
    for _ in timed("findings, near-duplicates among them"):
        facts = {o.facts["content_hash"]: o.facts for _, o in found if o.facts is not None}
        videos, likenesses = with_findings(made.videos, facts)
    for _ in timed("audit"):
        audit(videos, made.rejects, ignored=0, notes=(), likenesses=likenesses)
    for _ in timed("write packets.arrow"):
        write_packets(corpus, packet_rows(files, videos, journal))
    for _ in timed("write manifest.parquet"):
        write_manifest(corpus, [replace(video) for video in videos], root=work)
    journal.__exit__()
    for _ in timed("read manifest.parquet, as every other verb does"):
        read_manifest(corpus)
    sizes = {name: (corpus / name).stat().st_size for name in (JOURNAL_FILE, PACKETS_FILE, MANIFEST_FILE)}
    return {"rows": size, "steps": steps, "bytes": sizes}


if __name__ == "__main__":
    main()
