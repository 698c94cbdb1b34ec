"""What the files of a large corpus cost its manifest, and what workers of `vlcorpus verify` are worth.

    python -m benchmarks.manifest [--files 500000] [--shards 2000]

Made receipts of shards, a tar and an index each, become a list of so many files; then it is written, read, walked as
`verify` does, and the card is written; a tenth as many files are listed. For each step: microseconds of CPU a file, and
bytes a file that the process has at its peak beyond what it had before. Then shards of a demo crawl, each linked under
many names, are checked by this process, by one worker and by two.
"""

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

import vlcorpus
from benchmarks.usage import cpu_seconds, memory
from pipelines.audit.shards import check
from pipelines.card.readme import card
from pipelines.card.written import Written
from pipelines.engines.inline import InlineEngine
from pipelines.engines.local import LocalEngine
from pipelines.engines.step import Engine, Json
from pipelines.files import Store
from pipelines.manifest import unnamed
from schemas.manifest import Manifest
from schemas.manifest_files import Listed, Output, dump_list, list_name, load_list
from synth.crawl import write_crawl

T = TypeVar("T")


def main() -> None:
    """Prints a line of figures for each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=500_000)
    parser.add_argument("--shards", type=int, default=2_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vlcorpus-manifest-") as folder:
        crawl = Path(folder, "crawl")
        write_crawl(crawl, 400, 1, 400, workers=1)
        made = vlcorpus.build(
            crawl / "shards",
            f"{folder}/out",
            "inline",
            progress=False,
            max_quarantine=1.0,
            shards={"samples": 50},
        )
        listing(made.manifest, given.files)
        walking(Path(folder, "many"), given.files // 10)
        checking(made, Path(folder, "out"), given.shards)


def listing(manifest: Manifest, files: int) -> None:
    """Prints what each step between the receipts and the reader of a list costs."""
    written = step("from receipts to rows", files, lambda: Written.of(receipts(files // 2)))
    data = step("rows to a list", files, lambda: dump_list(written.files))
    name = list_name(data)
    few = {name: Output.of(data, written.files.num_rows)}
    print(
        f"    the list has {len(data) / files:.1f} bytes a file, its rows {written.files.nbytes / files:.0f}"
    )
    found = step("read the list", files, lambda: load_list(data, name, few))
    large = manifest.model_copy(update={"files": name, "outputs": found, "shards": found.order})
    step("write the card", files, lambda: card(large))
    print(f"    manifest.json has {len(large.dump()):,} bytes")
    names = list(found)
    step("files that the manifest does not name", files, lambda: list(unnamed(names, found)))
    step("sums of the samples", files, lambda: list(large.problems()))
    step("the order of the shards", files, lambda: dict(found.order))


def walking(folder: Path, files: int) -> None:
    """Prints what the listing of so many files costs."""
    folder.mkdir()
    for number in range(files):
        (folder / f"{number:016x}.tar").touch()
    step("list the folder", files, lambda: {one.name: one for one in Store().list_files(str(folder))})


def receipts(shards: int) -> Iterator[Json]:
    """Yields the receipts of so many shards."""
    for number in range(shards):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        stem = f"shards/train/caption/web/{digest[:16]}"
        both = (
            {"name": f"{stem}.{end}", "size": 10**8, "sha256": digest, "rows": 10**4}
            for end in ("parquet", "tar")
        )
        counts = {"samples": 10**4, "images": 10**4, "views": [("caption", "en", 10**4)]}
        yield {"files": list(both), "licences": {"CC0-1.0": 10**4}, **counts}


def step(what: str, files: int, work: Callable[[], T]) -> T:
    """Returns what the work does; prints its CPU time and memory a file."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on
    before, since = memory("VmRSS"), time.process_time()
    found = work()
    spent, peak = time.process_time() - since, memory("VmHWM") - before
    print(f"{what:40} {1e6 * spent / files:8.2f} µs {peak / files:8.0f} bytes a file", flush=True)
    return found


def checking(made: vlcorpus.Corpus, out: Path, shards: int) -> None:
    """Prints how long this process and workers take to check so many shards."""
    rows: list[dict[str, Any]] = []
    known = [name for name in made.manifest.outputs if name.endswith(".tar")]
    for number in range(shards):
        tar = known[number % len(known)]
        folder, _, stem = tar.removesuffix(".tar").rpartition("/")
        for end in ("parquet", "tar"):
            old, new = f"{folder}/{stem}.{end}", f"{folder}/{number:016x}.{end}"
            os.link(out / old, out / new)
            output = made.manifest.outputs[old].model_dump()
            rows.append({"name": new, "place": number if end == "tar" else None, **output})
    table = pa.Table.from_pylist(rows).sort_by("name")
    manifest = made.manifest.model_copy(update={"outputs": Listed({}, table), "files": "list"})
    store = Store()
    files = {info.name: info for info in store.list_files(str(out))}
    engines: list[tuple[str, Engine]] = [
        ("this process", InlineEngine()), ("one worker", LocalEngine(1)), ("two workers", LocalEngine(2)),
    ]  # fmt: skip
    for what, engine in engines:
        since, cpu = time.perf_counter(), cpu_seconds()
        with closing(engine):
            assert check(engine, str(out), store, manifest, files).problems == []
        seconds, spent = time.perf_counter() - since, cpu_seconds() - cpu
        print(
            f"{shards:,} shards by {what:14} {seconds:6.1f} s, {spent:6.1f} s of CPU, {spent / seconds:.2f} cores"
        )


if __name__ == "__main__":
    main()
