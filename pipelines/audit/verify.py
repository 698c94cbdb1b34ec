"""`vlcorpus verify`: does a corpus still match its manifest, to the byte and to the row?

The funnel, counted again from `work/decisions`.
"""

import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.annotated import recounted
from pipelines.audit.claims import Kind, contradictions, miscounted, tally
from pipelines.audit.held_out import DECISIONS as DECIDED
from pipelines.audit.held_out import has_evaluation, leaks
from pipelines.audit.ledger import ledger
from pipelines.files import MIB, FileInfo, Store, join
from pipelines.layout import Layout
from pipelines.receipts import UNFINISHED, is_finished
from pipelines.writers import webdataset
from pipelines.writers.columns import SAMPLE, require_columns
from pipelines.writers.sink import Digesting
from schemas.errors import InputError, VerifyError
from schemas.manifest import MAX_BYTES, SUM, Funnel, Manifest, Output, is_of_corpus, load
from schemas.parquet import opened
from schemas.row import DECISIONS


def recount(store: Store, files: Iterable[FileInfo], manifest: Manifest) -> Iterator[str]:
    """One sentence for each count of the funnel that differs from the decisions in `files`, if any.

    Reads every column, for the checksums of its pages.
    """
    infos = list(files)
    tally = _Tally(Counter(), Counter(), Counter())
    for info in infos:
        try:
            with store.open(info.path) as file:
                rows = opened(file)
                require_columns(rows, DECISIONS)
                for batch in rows.iter_batches(columns=DECISIONS.names):
                    tally.add(pa.Table.from_batches([batch]))
        except (pa.ArrowException, InputError, OSError, ValueError) as error:
            yield f"{info.name}: cannot be read as decisions: {' '.join(str(error).split())}"
            return
    for source in sorted({source for source, _ in tally.decisions} - manifest.funnel.keys(), key=str):
        yield f"work/decisions: the funnel knows no source {source}"
    for source, funnel in sorted(manifest.funnel.items()) if infos else []:
        for problem in tally.problems(source, funnel):
            yield f"source {source}: {problem}"


@dataclass(frozen=True, slots=True)
class _Tally:
    """Rows by (source, decision), by (source, decision, reason), and by (source, rule failed)."""

    decisions: Counter[tuple[str, str]]
    reasons: Counter[tuple[str, str, str | None]]
    failed: Counter[tuple[str, str]]

    def add(self, table: pa.Table) -> None:
        """Counts the rows of `table`."""
        for row in _count(table.select(["source", "decision", "reason"])):
            self.decisions[row["source"], row["decision"]] += row["count_all"]
            self.reasons[row["source"], row["decision"], row["reason"]] += row["count_all"]
        failed = table["failed"].combine_chunks()
        sources = table["source"].take(pc.list_parent_indices(failed))
        for row in _count(pa.table({"source": sources, "rule": pc.list_flatten(failed)})):
            self.failed[row["source"], row["rule"]] += row["count_all"]

    def problems(self, source: str, funnel: Funnel) -> Iterator[str]:
        counts = {"kept": funnel.kept, "dropped": funnel.dropped, "quarantined": funnel.quarantined}
        for decision, n in counts.items():
            found = self.decisions[source, decision]
            if found != n:
                yield f"the funnel counts {n:,} rows {decision}, work/decisions {found:,}"
        for rule in funnel.rules:
            first, failed = self.reasons[source, "dropped", rule.rule], self.failed[source, rule.rule]
            if (first, failed) != (rule.dropped, rule.failed):
                yield (
                    f"rule {rule.rule} dropped {rule.dropped:,} and failed {rule.failed:,} in the funnel, "
                    f"{first:,} and {failed:,} in work/decisions"
                )
        for error, n in funnel.errors.items():
            found = self.reasons[source, "quarantined", error]
            if found != n:
                yield f"the funnel counts {n:,} rows quarantined as {error}, work/decisions {found:,}"


def _count(table: pa.Table) -> list[dict[str, Any]]:
    return list(table.group_by(table.column_names).aggregate([([], "count_all")]).to_pylist())


_PLACES: Final = pa.schema([SAMPLE.field("key"), SAMPLE.field("sample"), *webdataset.PLACES])
_AT_ONCE: Final = 4


def verify(folder: str, storage_options: Mapping[str, Any] | None = None, work: bool = False) -> list[str]:
    """Returns what is wrong with the corpus in `folder`, a line for each file; nothing where all is well.

    Recomputes the size and SHA-256 of every file, counts rows again, follows every offset of every
    index, adds up the funnel (also from `work/decisions` where that is there), holds the manifest against its
    digest, the card, the recipe and the samples, names files that do not belong, and says which images stand
    in `eval` and in another split. `unchecked` says what it could not see. `work`: holds the tables and receipts
    below `work/` against each other too.
    Raises VerifyError where there is no manifest to go by, or no `work/` to check.
    """
    store = Store(storage_options)
    data = _manifest_bytes(store, folder)
    manifest = load(data, sums=False)
    files = {info.name: info for info in store.list_files(folder)}
    problems = list(manifest.problems())
    problems += contradictions(store, files, data, manifest)
    edited = any(problem.startswith(f"{SUM}: ") for problem in problems)
    if not edited and not is_finished(Layout(folder, options=dict(storage_options or {}))):
        problems.append(f"{folder} {UNFINISHED}")
    problems += _strays(files, manifest)
    # a tar and its index are one job, so that no file is open twice
    jobs = [
        list(group) for _, group in groupby(sorted(manifest.outputs), lambda name: name.rpartition(".")[0])
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for found in pool.map(lambda names: _job(store, names, manifest, files), jobs):
            problems += found
        problems += miscounted(manifest, _samples(pool, store, manifest, files))
    decisions = (info for name, info in files.items() if name.startswith(DECIDED))
    problems += recount(store, decisions, manifest)
    problems += _annotations(Layout(folder, options=dict(storage_options or {})), manifest)
    if work:
        problems += ledger(folder, storage_options)
    return [*_by_file(problems, files.keys() | manifest.outputs.keys()), *leaks(store, files, manifest)]


def _annotations(layout: Layout, manifest: Manifest) -> list[str]:
    """Returns one sentence for each source whose annotations are counted otherwise below work/, if that is there."""
    try:
        return list(recounted(layout, manifest.annotations))
    except (pa.ArrowException, InputError, OSError, KeyError) as error:
        return [f"work/annotations: cannot be counted: {_line(error)}"]


def _by_file(problems: Iterable[str], names: Container[str]) -> Iterator[str]:
    """Yields the sentences, those on one file as one, where the first of them stands."""
    found: dict[str, dict[str, None]] = {}
    for problem in problems:
        name, mark, what = problem.partition(": ")
        if mark and (name in names or (name.startswith("work/") and "." in name)):
            found.setdefault(f"{name}: ", {})[what] = None
        else:
            found[problem] = {}
    for start, parts in found.items():
        yield start + "; ".join(parts)


def unchecked(folder: str, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """Returns what `verify` cannot check since `work/` is gone, one sentence each; none where it is there."""
    store = Store(storage_options)
    if any(info.name.startswith(DECIDED) for info in store.list_files(folder)):
        return []
    found = ["the decisions on its rows were not counted again: there is no work/"]
    if has_evaluation(read_manifest(store, folder)):
        found.append(
            "images of eval were compared with those of other splits by SHA-256 and by the perceptual hash of each "
            "sample's first image, as the indexes give them, not by their pixels: there is no work/"
        )
    return found


def mending(folder: str) -> str:
    """Returns the sentence on what a person does about problems."""
    return (
        f"to mend: remove the damaged files that are named above (but not removed.parquet and work/verdicts/, which "
        f"nothing makes again: put those back from a copy), and build again with the same recipe and --out {folder}; "
        "a build makes again what is missing"
    )


def _samples(
    pool: ThreadPoolExecutor, store: Store, manifest: Manifest, files: Mapping[str, FileInfo]
) -> Counter[Kind]:
    """Returns how many samples of each kind the shards hold."""
    indexes = {f"{name.rpartition('.')[0]}.parquet" for name in manifest.sample_files()} & files.keys()
    found = Counter[Kind]()
    for one in pool.map(lambda name: tally(store, files[name]), sorted(indexes)):
        found += one
    return found


def read_manifest(store: Store, folder: str) -> Manifest:
    """Returns the manifest of the corpus in `folder`, its sums unchecked; raises VerifyError where there is none."""
    return load(_manifest_bytes(store, folder), sums=False)


def digest_of(folder: str, storage_options: Mapping[str, Any] | None = None) -> str:
    """Returns the SHA-256 of the manifest, by which a reader knows the corpus; VerifyError where there is none."""
    return hashlib.sha256(_manifest_bytes(Store(storage_options), folder)).hexdigest()


def _manifest_bytes(store: Store, folder: str) -> bytes:
    try:
        return store.read_bytes(join(folder, "manifest.json"), MAX_BYTES)
    except InputError as error:
        raise VerifyError(f"{folder} holds no corpus that can be verified: {error}") from error


def _strays(files: Mapping[str, FileInfo], manifest: Manifest) -> Iterator[str]:
    for name in files:
        if name not in manifest.outputs and is_of_corpus(name):
            yield f"{name}: the manifest does not name this file"


def _job(store: Store, names: list[str], manifest: Manifest, files: Mapping[str, FileInfo]) -> list[str]:
    return [problem for name in names for problem in _file(store, name, manifest.outputs[name], files)]


def _file(store: Store, name: str, output: Output, files: Mapping[str, FileInfo]) -> Iterator[str]:
    info = files.get(name)
    if info is None:
        yield f"{name}: missing"
        return
    index = files.get(name.removesuffix(".tar") + ".parquet") if name.endswith(".tar") else None
    try:
        with store.reading(info.path), store.open(info.path) as raw:
            file = Digesting(raw)
            if index is not None:
                with store.open(index.path) as rows:
                    yield from _members(name, file, rows, output)
            elif name.endswith(".tar"):
                yield f"{name}: its index is missing"
            while file.read(MIB):
                pass
        if name.endswith(".parquet"):
            with store.open(info.path) as raw:
                yield from _rows(name, raw, output)
    except InputError as error:
        yield f"{name}: {error}"
        return
    if file.size != output.size:
        yield f"{name}: {file.size:,} bytes, but the manifest says {output.size:,}"
    if file.hexdigest() != output.sha256:
        yield f"{name}: SHA-256 is {file.hexdigest()}, but the manifest says {output.sha256}"


def _rows(name: str, file: BinaryIO, output: Output) -> Iterator[str]:
    try:
        rows = opened(file).metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        yield f"{name}: cannot be read as Parquet: {_line(error)}"
        return
    if rows != output.rows:
        yield f"{name}: {rows:,} rows, but the manifest says {output.rows}"


def _members(name: str, file: Digesting, index: BinaryIO, output: Output) -> Iterator[str]:
    """Reads the tar once, in step with its index: each member must be what its row says, where it says."""
    rows = 0
    try:
        for place in _places(opened(index)):
            rows += place.first
            if (problem := place.differs(file)) is not None:
                yield f"{name}: {problem}"
                return
    except (pa.ArrowException, OSError, ValueError) as error:
        yield f"{name}: its index cannot be followed: {_line(error)}"
        return
    if rows != output.rows:
        yield f"{name}: {rows:,} rows in its index, but the manifest says {output.rows}"
    while rest := file.read(MIB):
        if rest.strip(b"\0"):
            yield f"{name}: it holds more than its index says"
            return


@dataclass(frozen=True, slots=True)
class _Place:
    """A member as the index describes it; `text` is its content where the index repeats it."""

    name: str
    offset: int
    size: int
    text: bytes | None

    @property
    def first(self) -> bool:
        """Each sample has one such member."""
        return self.text is not None

    def differs(self, file: Digesting) -> str | None:
        """What is not as described; `file` must stand at the member's header, and is moved beyond it."""
        at = file.size + webdataset.BLOCK
        if self.offset != at or self.size < 0:
            return f"{self.name} should start at byte {at:,}, but its index says {self.offset:,}"
        if file.read(webdataset.BLOCK) != webdataset.header(self.name, self.size):
            return f"the header before byte {at:,} is not that of {self.name} with {self.size:,} bytes"
        if self.text is not None and (self.size != len(self.text) or file.read(self.size) != self.text):
            return f"{self.name} is not the sample in its index"
        left = (0 if self.text is not None else self.size) + webdataset.padding(self.size)
        while left > 0:
            block = file.read(min(left, MIB))
            if not block:
                return f"it ends inside {self.name}"
            left -= len(block)
        return None


def _places(index: pq.ParquetFile) -> Iterator[_Place]:
    require_columns(index, _PLACES)
    for batch in index.iter_batches(batch_size=1024, columns=_PLACES.names):
        for row in batch.to_pylist():
            known = [value for image in row["images"] for name, value in image.items() if name != "url"]
            if None in (*row.values(), *known):
                raise ValueError("it leaves a place open")
            yield _Place(f"{row['key']}.json", row["json_offset"], row["json_size"], row["sample"].encode())
            for image in row["images"]:
                yield _Place(image["member"], image["offset"], image["size"], None)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
