"""Which shards of a corpus that was there change, and why: each counted by its first reason.

A shard changed where its bytes are not those that the manifest names: one that was lost or damaged and is made again as
it was did not. Which samples went, and which came, is read from the indexes, before the shards are written and after.
What became of a row that went stands in its decision.
"""

from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from filters.rules import REMOVED
from pipelines.layout import Layout
from pipelines.manifest import read_manifest
from pipelines.parquet import read_table
from pipelines.phases.dedup.signals import EVAL, KINDS
from pipelines.phases.select.semantic import ALIKE
from schemas.errors import InputError, VerifyError
from schemas.manifest import MANIFEST
from schemas.manifest_files import Output, stem
from schemas.parquet import opened

MOST: Final = 500_000
"""Where shards with more samples change nobody is told why: so many keys are held in memory."""

REASONS: Final = {
    "removed": "lost rows that the list removes",
    "eval": "lost rows to evaluation protection",
    "duplicate": "lost rows to better duplicates",
    "clip": "lost rows to a threshold on CLIP scores",
    "rule": "lost rows to other rules",
    "gone": "lost rows that the sources have no more",
    "split": "lost rows to another split, since their cluster has another name",
    "new": "took in rows",
    "cut": "were cut elsewhere, or written in another form",
}
"""Why a shard changed, the first that applies."""


Keys = Mapping[str, frozenset[str]]
"""The keys of the samples of shards, by the shard's name."""


@dataclass(frozen=True)
class Before:
    """The shards that were there: how many, their bytes, and of those that may change the files and keys of samples.

    `files` are as the manifest names them, by name without suffix; `keys` is None where they are too many.
    """

    shards: int
    size: int
    files: Mapping[str, Mapping[str, Output]]
    keys: Keys | None


def before(layout: Layout, stay: Container[str]) -> Before:
    """Returns the shards of the manifest that lies there; those of `stay`, without their suffixes, do not change."""
    files: dict[str, dict[str, Output]] = {}
    shards = size = 0
    for name, group in groupby(manifest_outputs(layout).items(), lambda one: stem(one[0])):
        if name.startswith("shards/"):
            outputs = dict(group)
            shards, size = shards + 1, size + sum(output.size for output in outputs.values())
            if name not in stay:
                files[name] = outputs
    return Before(shards, size, files, _all_keys(layout, files))


def manifest_outputs(layout: Layout) -> Mapping[str, Output]:
    """Returns the files that the manifest names; none where no corpus was finished there, or it cannot be read."""
    if not layout.store.exists(layout.at(MANIFEST)):
        return {}
    try:
        return read_manifest(layout.store, layout.out).outputs
    except (InputError, VerifyError):  # the build writes it anew
        return {}


def _all_keys(layout: Layout, names: Iterable[str]) -> Keys | None:
    """The keys of the samples of shards, by name; None where they are more than MOST."""
    found: dict[str, frozenset[str]] = {}
    left = MOST
    for name in names:
        found[name] = _keys(layout, name)
        left -= len(found[name])
        if left < 0:
            return None
    return found


def _keys(layout: Layout, name: str) -> frozenset[str]:
    """The keys of the samples of a shard; none where its index cannot be read."""
    try:
        with layout.store.open(layout.at(f"{name}.parquet")) as file:
            views = opened(file).read(["views"])["views"].combine_chunks()
            return frozenset(pc.struct_field(pc.list_flatten(views), "key").to_pylist())
    except (pa.ArrowException, InputError, OSError, KeyError):
        return frozenset()


def said(layout: Layout, was: Before, written: Mapping[str, Mapping[str, str]]) -> str | None:
    """Returns the sentence on the shards whose bytes changed, where any did.

    `written` has those that were written now, by name, with the SHA-256 of each file.
    """
    same = {
        name
        for name, files in was.files.items()
        if written.get(name) == {file: output.sha256 for file, output in files.items()}
    }
    changed = [name for name in was.files if name not in same]
    if not changed:
        return None
    share = sum(output.size for name in changed for output in was.files[name].values()) / max(1, was.size)
    counts = f"of {was.shards:,} shards that were there {len(changed):,} changed, {share:.2%} of their bytes"
    if was.keys is None:
        return f"{counts}: too many to say why"
    keys = {name: was.keys[name] for name in changed}
    found = Counter(_reasons(layout, keys, written.keys() - same))
    return f"{counts}: {', '.join(f'{found[one]:,} {REASONS[one]}' for one in REASONS if found[one])}"


def _reasons(layout: Layout, was: Keys, written: Iterable[str]) -> Iterable[str]:
    """Yields the first reason of each shard that changed."""
    old: dict[str, set[str]] = {}
    for name, keys in was.items():
        old.setdefault(_folder(name), set()).update(keys)
    home: dict[tuple[str, str], str] = {}
    fuller = set()
    for name in written:
        keys, folder = _keys(layout, name), _folder(name)
        known = keys & old.get(folder, set())
        home |= {(folder, key): name for key in known}
        if len(known) < len(keys):
            fuller.add(name)
    gone = {name: [key for key in keys if (_folder(name), key) not in home] for name, keys in was.items()}
    decided = _decided(layout, {_row(key) for keys in gone.values() for key in keys})
    for name, keys in was.items():
        why = {_lost(name, decided.get(_row(key))) for key in gone[name]}
        if fuller & {home.get((_folder(name), key)) for key in keys}:
            why.add("new")
        yield next((one for one in REASONS if one in why), "cut")


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _row(key: str) -> str:
    """The key of a sample's row."""
    return key.partition("-")[0]


def _lost(name: str, decision: Mapping[str, Any] | None) -> str:
    """Why a row's sample is no longer in a folder of shards, by what was decided on the row."""
    if decision is None:
        return "gone"
    reason = str(decision["reason"]).partition(":")[0]
    if decision["decision"] == "kept":
        return "split" if decision["split"] != name.split("/")[1] else "cut"
    known = {
        REMOVED: "removed",
        EVAL: "eval",
        "clip": "clip",
        **dict.fromkeys((*KINDS, ALIKE), "duplicate"),
    }
    return known.get(reason, "rule")


def _decided(layout: Layout, keys: Collection[str]) -> dict[str, dict[str, Any]]:
    """The decisions on rows by their keys; of repeats that of the kept one."""
    found: dict[str, dict[str, Any]] = {}
    wanted = pa.array(sorted(keys), pa.string())
    for _, info in layout.listed("decisions") if keys else ():
        table = read_table(layout, info.path, ["key", "decision", "reason", "split"])
        for row in table.filter(pc.is_in(table["key"], value_set=wanted)).to_pylist():
            if row["decision"] == "kept" or row["key"] not in found:
                found[row["key"]] = row
    return found
