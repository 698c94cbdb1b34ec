"""What a removal costs, and what an append changes: files, bytes and seconds against a build of the whole.

    python -m benchmarks.removal [--rows 200000] [--keys 100] [--per-shard 10000] [--samples 1000] [--workers 2]

Made rows of text become a corpus. Then so many of its keys are removed, then one row in a hundred is added as new input
shards. Printed: shards written anew and their files, seconds of phase `shard` against its share of the whole, and the
bytes of old files that changed, with what the build says of the reasons.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

import vlcorpus
from pipelines.progress import Reporter
from schemas.manifest_files import Output

WORDS = (
    "a man in the red coat",
    "rides his old bicycle",
    "along a wet street",
    "past two small dogs",
    "and their owner",
)


@dataclass
class Timed(Reporter):
    """Notes the seconds of each phase, and prints what is said."""

    seconds: dict[str, float] = field(default_factory=dict)
    _phase: str = ""

    def begin(self, phase: str, tasks: int, done: int) -> None:
        self._phase = phase
        self.seconds[phase] = -time.perf_counter()

    def end(self) -> None:
        self.seconds[self._phase] += time.perf_counter()

    def say(self, sentence: str) -> None:
        print(f"    {sentence}")


def main() -> None:
    """Builds, removes, appends; prints a line of figures for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in (
        ("rows", 200_000),
        ("keys", 100),
        ("per-shard", 10_000),
        ("samples", 1000),
        ("workers", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vlcorpus-removal-") as folder:
        place = Path(folder, "in")
        write(place, 0, given.rows, given.per_shard)
        recipe = {
            "sources": [{"id": "words", "path": str(place), "kind": "text"}],
            "shards": {"samples": given.samples},
        }
        out = Path(folder, "out")
        whole, seconds, total = built(recipe, out, given.workers)
        size = sum(one.size for one in whole.values())
        print(f"{given.rows:,} rows: {total:.0f} s, phase shard {seconds['shard']:.1f} s; {_files(whole)}")
        removed(recipe, out, given, whole, seconds["shard"])
        before = outputs(out)
        write(place, given.rows, given.rows + given.rows // 100, given.per_shard)
        after, seconds, total = built(recipe, out, given.workers)
        changed = _changed(before, after)
        lost = sum(before[name].size for name in changed)
        print(
            f"append of {given.rows // 100:,} rows: {total:.0f} s, phase shard {seconds['shard']:.1f} s; "
            f"{len(changed):,} of {len(before):,} old files changed, {lost / size:.2%} of the old bytes"
        )


def removed(
    recipe: dict[str, Any], out: Path, given: argparse.Namespace, whole: dict[str, Output], shard: float
) -> None:
    """Removes keys drawn by a seed, and prints what that changes and takes."""
    keys = sorted(ds.dataset(out / "work" / "decisions").to_table(columns=["key"])["key"].to_pylist())
    listed = out.parent / "keys.txt"
    listed.write_text("\n".join(["key", *random.Random(1).sample(keys, given.keys)]))
    after, seconds, total = built({**recipe, "removed": str(listed)}, out, given.workers)
    changed = [name for name in after if after[name] != whole.get(name)]
    share = sum(after[name].size for name in changed) / sum(one.size for one in after.values())
    limit = 1.5 * share * shard + 15
    print(
        f"{given.keys} keys removed: {total:.0f} s, phase shard {seconds['shard']:.1f} s (limit {limit:.1f} s: share "
        f"{share:.1%}); {len(changed):,} files written, {len(_changed(whole, after)):,} old ones changed"
    )


def built(
    recipe: dict[str, Any], out: Path, workers: int
) -> tuple[dict[str, Output], dict[str, float], float]:
    """Builds; returns the files of shards, the seconds of each phase, and of all."""
    reporter = Timed()
    since = time.perf_counter()
    vlcorpus.build(recipe, out, workers=workers, progress=reporter)
    return outputs(out), reporter.seconds, time.perf_counter() - since


def outputs(out: Path) -> dict[str, Output]:
    """Returns the files of shards that the manifest names."""
    manifest = vlcorpus.Corpus.open(out).manifest
    return {name: one for name, one in manifest.outputs.items() if name.startswith("shards/")}


def _changed(before: dict[str, Output], after: dict[str, Output]) -> list[str]:
    return [name for name in before if before[name] != after.get(name)]


def _files(files: dict[str, Output]) -> str:
    return f"{len(files):,} files of shards, {sum(one.size for one in files.values()) / 1e6:.1f} MB"


def write(place: Path, start: int, stop: int, per_shard: int) -> None:
    """Writes rows by number as JSON lines, so many a file."""
    place.mkdir(exist_ok=True)
    for first in range(start, stop, per_shard):
        rows = _rows(first, min(first + per_shard, stop))
        (place / f"{first:09d}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _rows(start: int, stop: int) -> Iterator[dict[str, str]]:
    for number in range(start, stop):
        rng = random.Random(number)
        yield {
            "text": f"{' '.join(rng.choices(WORDS, k=8))} {number}",
            "url": f"https://example.org/{number}",
        }


if __name__ == "__main__":
    main()
