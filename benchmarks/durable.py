"""What durable writes and checked reads cost: the demo built with and without them, in turn.

    python -m benchmarks.durable [--rows 2000] [--rounds 3]

Without: no fsync, no checksums of Parquet pages, no digests of outputs in receipts, and so nothing that is held
against them. There is no such setting; the benchmark takes them out of its own process. Both build the same bytes,
which is asserted. One core builds inline; the order of the two changes from round to round.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pyarrow.parquet as pq

from pipelines.progress import Reporter
from pipelines.recipe.load import from_file
from pipelines.runs import Options, run
from synth.crawl import write_crawl

HOUSE: Final = Path(__file__).parent.parent
LIMIT: Final = 1.03
"""A build takes at most so many times the CPU time of one without."""


@contextmanager
def unchecked() -> Iterator[None]:
    """Takes fsync, page checksums and the digests of outputs out of this process."""
    read, write = pq.ParquetFile, pq.ParquetWriter

    def without(real: Any, name: str) -> Any:
        return lambda *given, **more: real(*given, **{**more, name: False})

    with ExitStack() as stack:
        for place, value in (
            ("os.fsync", lambda descriptor: None),
            ("pyarrow.parquet.ParquetFile", without(read, "page_checksum_verification")),
            ("pyarrow.parquet.ParquetWriter", without(write, "write_page_checksum")),
            ("pipelines.engines.step.witnessed", _nobody),
        ):
            stack.enter_context(mock.patch(place, value))
        yield


@contextmanager
def _nobody(kept: list[dict[str, Any]] | None = None) -> Iterator[list[dict[str, Any]]]:
    yield []


def build(recipe: Path, out: Path) -> tuple[float, float, bytes]:
    """Builds the demo; returns the seconds of CPU and of the clock, and the manifest."""
    made = from_file(str(recipe)).model_copy(update={"out": str(out)})
    cpu, wall = time.process_time(), time.perf_counter()
    run(made, "card", Options("inline"), Reporter())
    return time.process_time() - cpu, time.perf_counter() - wall, (out / "manifest.json").read_bytes()


def compared(recipe: Path, folder: Path, rounds: int) -> float:
    """Builds in turn, with and without; prints a line each round, returns the median ratio of CPU time."""
    build(recipe, folder / "warm")  # loads what later builds share
    cpu, wall = [], []
    for number in range(rounds):
        found = {}
        for bare in (False, True) if number % 2 else (True, False):
            with unchecked() if bare else ExitStack():
                found[bare] = build(recipe, folder / f"{number}-{bare}")
        assert found[False][2] == found[True][2], "the two built other bytes"
        cpu.append(found[False][0] / found[True][0])
        wall.append(found[False][1] / found[True][1])
        print(
            f"round {number}: CPU {found[True][0]:.2f} -> {found[False][0]:.2f} s ({cpu[-1]:.3f} x), "
            f"clock {found[True][1]:.2f} -> {found[False][1]:.2f} s ({wall[-1]:.3f} x)",
            flush=True,
        )
    print(f"median: CPU {statistics.median(cpu):.3f} x, clock {statistics.median(wall):.3f} x")
    return statistics.median(cpu)


def main() -> None:
    """Prints the ratios, and whether the limit is kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000, help="rows of the demo crawl")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_crawl(folder / "demo", given.rows, 1)
        recipe = folder / "demo.yaml"
        text = (HOUSE / "recipes" / "demo.yaml").read_text()
        recipe.write_text(text.replace("demo/shards", str(folder / "demo" / "shards")))
        print(f"{len(os.sched_getaffinity(0))} cores, load before {os.getloadavg()[0]:.1f}")
        found = compared(recipe, folder, given.rounds)
    print(f"{'reached' if found <= LIMIT else 'MISSED'}: {found:.3f} (at most {LIMIT:g})")


if __name__ == "__main__":
    main()
