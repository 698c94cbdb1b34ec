"""`vlcorpus verify`: does a corpus still match its manifest, to the byte and to the row?

The funnel, counted again from `work/decisions`.
"""

import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.annotated import recounted
from pipelines.audit.claims import contradictions, miscounted
from pipelines.audit.held_out import DECISIONS as DECIDED
from pipelines.audit.held_out import has_evaluation, leaks
from pipelines.audit.ledger import ledger
from pipelines.audit.shards import check, line_of
from pipelines.engines.inline import InlineEngine
from pipelines.engines.step import Engine
from pipelines.files import FileInfo, Store, is_local, is_special, join, local_path
from pipelines.layout import Layout
from pipelines.manifest import manifest_bytes, read_manifest, unnamed, with_list
from pipelines.receipts import UNFINISHED, is_finished
from pipelines.writers.columns import require_columns
from schemas.errors import InputError
from schemas.manifest import SUM, Funnel, Manifest, is_of_corpus, load
from schemas.parquet import opened
from schemas.row import DECISIONS

_SHOWN: Final = 5


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


def verify(
    folder: str,
    storage_options: Mapping[str, Any] | None = None,
    work: bool = False,
    engine: Engine | None = None,
) -> list[str]:
    """Returns what is wrong with the corpus in `folder`, a line for each file; nothing where all is well.

    Recomputes the size and SHA-256 of every file, counts rows again, follows every offset of every
    index, adds up the funnel (also from `work/decisions` where that is there), holds the manifest against its
    digest, the card, the recipe and the samples, names files that do not belong, and says which images stand
    in `eval` and in another split. `unchecked` says what it could not see. `work`: holds the tables and receipts
    below `work/` against each other too. `engine` reads the shards, by default this process; it changes no line.
    Raises VerifyError where there is no manifest to go by, or no `work/` to check.
    """
    store = Store(storage_options)
    data = manifest_bytes(store, folder)
    manifest = with_list(store, folder, load(data, sums=False))
    there = {info.name: info for info in store.list_files(folder)}
    # a pipe, a socket and a device have the size 0
    files = {
        name: info
        for name, info in there.items()
        if info.size or not is_local(info.path) or not is_special(info.path)
    }
    problems = list(manifest.problems())
    problems += (f"{name}: it is a pipe, a socket or a device" for name in there if name not in files)
    problems += contradictions(store, files, data, manifest)
    edited = any(problem.startswith(f"{SUM}: ") for problem in problems)
    if not edited and not is_finished(Layout(folder, options=dict(storage_options or {}))):
        problems.append(f"{folder} {UNFINISHED}")
    problems += (
        f"{name}: the manifest does not name this file"
        for name in unnamed(there, manifest.outputs)
        if is_of_corpus(name)
    )
    found = check(engine or InlineEngine(), folder, store, manifest, files)
    problems += [*found.problems, *miscounted(manifest, found.views)]
    decisions = (info for name, info in files.items() if name.startswith(DECIDED))
    problems += recount(store, decisions, manifest)
    problems += _annotations(Layout(folder, options=dict(storage_options or {})), manifest)
    if work:
        problems += ledger(folder, storage_options)
    return [*_by_file(problems, there, manifest.outputs), *leaks(store, files, manifest)]


def _links(folder: str, files: Iterable[FileInfo]) -> Iterator[str]:
    """Yields the names of files and folders of a local corpus that are links, sorted."""
    names = {name for info in files if is_of_corpus(info.name) for name in _on_the_way(info.name)}
    yield from (name for name in sorted(names) if os.path.islink(local_path(join(folder, name))))


def _on_the_way(name: str) -> Iterator[str]:
    """Yields the folders on the way to a file, and the file."""
    while name:
        yield name
        name = name.rpartition("/")[0]


def _annotations(layout: Layout, manifest: Manifest) -> list[str]:
    """Returns one sentence for each source whose annotations are counted otherwise below work/, if that is there."""
    try:
        return list(recounted(layout, manifest.annotations))
    except (pa.ArrowException, InputError, OSError, KeyError) as error:
        return [f"work/annotations: cannot be counted: {line_of(error)}"]


def _by_file(problems: Iterable[str], *names: Container[str]) -> Iterator[str]:
    """Yields the sentences, those on one file as one, where the first of them stands."""
    found: dict[str, dict[str, None]] = {}
    for problem in problems:
        name, mark, what = problem.partition(": ")
        if mark and (any(name in known for known in names) or (name.startswith("work/") and "." in name)):
            found.setdefault(f"{name}: ", {})[what] = None
        else:
            found[problem] = {}
    for start, parts in found.items():
        yield start + "; ".join(parts)


def unchecked(folder: str, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """Returns what `verify` cannot check, one sentence each: where `work/` is gone, and where files are links."""
    store = Store(storage_options)
    files, found = store.list_files(folder), []
    if links := list(_links(folder, files)) if is_local(folder) else []:
        more = f" and {len(links) - _SHOWN:,} more" if len(links) > _SHOWN else ""
        found.append(
            f"what a copy of the folder holds, since these are links: {', '.join(links[:_SHOWN])}{more}"
        )
    if any(info.name.startswith(DECIDED) for info in files):
        return found
    found.append("the decisions on its rows were not counted again: there is no work/")
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
