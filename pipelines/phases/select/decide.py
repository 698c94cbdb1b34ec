"""One decision for every row: kept, dropped with its reason, or quarantined."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters.corpus_rules import MaxPerCaption
from filters.rules import REMOVED
from pipelines.engines.step import At, Json
from pipelines.parquet import write_tables
from pipelines.phases.dedup.signals import KINDS, PLACE
from pipelines.phases.dedup.tables import Columns
from pipelines.phases.select.candidates import Judge, replaced
from pipelines.phases.select.captions import CAPPED, Capped
from pipelines.phases.select.cuts import fails, reached, unscored
from pipelines.phases.select.judged import Judged
from pipelines.phases.select.keepers import Lost
from pipelines.phases.select.removed import blank, said
from pipelines.phases.select.semantic import ALIKE
from pipelines.shares import is_drawn
from schemas.plain import many
from schemas.row import DECISIONS, ROW


class Decide:
    """Writes the decisions of a task's shards; the receipt holds the part of the funnel of each."""

    def __init__(self, setup: Json) -> None:
        self._judge = Judge(setup)
        self._lost = Lost(self._judge, setup)
        self._capped = Capped(setup)
        self._cuts = setup["cuts"]
        self._write = bool(setup["write"])

    def run(self, task: Json, at: At) -> Json:
        """The decisions of each shard, in the order of its signals."""
        judged = self._judge.load(task)
        lost = self._lost.rows(judged)
        unfit = fails(judged, self._judge.recipe, self._cuts)
        beyond = self._capped.rows(judged, self._judge, lost)
        # what becomes of a row becomes of those that it stood for
        lost["capped"] |= np.isin(lost["of"], judged.places[beyond])
        failed = self._with_others(judged, unfit, lost, beyond)
        failed = replaced(failed, [[REMOVED]], np.where(judged.removed == "", -1, 0))
        table = self._table(judged, failed, lost, beyond)
        first = task["number"]
        ends = judged.at(np.arange(first, first + len(task["shards"]) + 1) << PLACE).tolist()
        bounds = list(pairwise(ends))
        if self._write:
            for number, (start, end) in enumerate(bounds):
                gone = bool((judged.removed[start:end] != "").any())
                self._write_shard(task, number, table.slice(start, end - start), gone)
        cuts = reached(self._cuts, judged.source.id)
        shards = [one | {"cuts": cuts} for one in funnels(table, bounds)]
        return {"rows": table.num_rows, "shards": shards}

    def _write_shard(self, task: Json, number: int, table: pa.Table, gone: bool) -> None:
        """Writes a shard's decisions; where rows are `gone`, their texts go."""
        source, shard = task["source"], task["shards"][number]
        path = self._judge.layout.path("decisions", source, shard)
        write_tables(self._judge.layout, path, DECISIONS, [table])
        if gone:
            one = {"source": source, "shard": shard, "number": task["number"] + number}
            blank(self._judge.layout, self._judge.recipe, *self._judge.shard(one), shard)

    def _with_others(
        self, judged: Judged, unfit: npt.NDArray[np.bool_], lost: Columns, beyond: npt.NDArray[np.int64]
    ) -> pa.Array:
        """The failed rules with `clip` or `unscored`, and with those on duplicates.

        Of these all from the kind on at which a row lost. None of these rows failed a rule before.
        """
        rules = self._judge.recipe.rules_of(judged.source)
        names = [
            ["repeat"] if kind == "repeat" else [k for k in KINDS[KINDS.index(kind) :] if getattr(rules, k)]
            for kind in KINDS
        ]
        which = np.full(len(judged.failed), -1, np.int64)
        which[unfit] = len(KINDS)
        which[unscored(judged, self._judge.recipe)] = len(KINDS) + 1
        which[lost["row"]] = lost["kind"]
        which[beyond] = len(KINDS) + 2
        return replaced(judged.failed, [*names, ["clip"], ["unscored"], [CAPPED], [ALIKE]], which)

    def _table(
        self, judged: Judged, failed: pa.Array, lost: Columns, beyond: npt.NDArray[np.int64]
    ) -> pa.Table:
        signals = judged.signals
        error = signals["error"].combine_chunks()
        sound = pc.is_null(error)
        failed = pc.if_else(sound, failed, pa.scalar([], pa.list_(pa.string())))
        fails = pc.greater(pc.list_value_length(failed), 0)
        decision = pc.if_else(sound, pc.if_else(fails, "dropped", "kept"), "quarantined")
        reason = pc.if_else(sound, _first(failed), error)
        kept = pc.equal(decision, "kept")
        columns: dict[str, Any] = {name: signals[name].combine_chunks() for name, _ in ROW}
        columns |= {
            "key": signals["key"].combine_chunks(),
            "decision": decision,
            "reason": reason,
            "failed": failed,
            "detail": self._details(judged, failed, lost, beyond),
            "split": self._splits(judged, kept.to_numpy(zero_copy_only=False)),
        }
        return pa.Table.from_arrays([columns[f.name].cast(f.type) for f in DECISIONS], schema=DECISIONS)

    def _details(
        self, judged: Judged, failed: pa.Array, lost: Columns, beyond: npt.NDArray[np.int64]
    ) -> pa.Array:
        """Why, in a few words: the measurement against its limit, the error's text, or who is kept instead."""
        rules = self._judge.recipe.rules_of(judged.source)
        texts = judged.signals["detail"].to_pylist()
        for row in np.flatnonzero(unscored(judged, self._judge.recipe)).tolist():
            texts[row] = f"no number in {judged.source.clip_score}"
        for row in np.flatnonzero(pc.equal(_first(failed), "clip").fill_null(False)).tolist():
            texts[row] = f"clip_score {judged.scores[row]:.5f}"
        for row in np.flatnonzero(judged.shown["source"] != "").tolist():
            if texts[row] is None:
                texts[row] = _shown(judged, row)
        for row, hi, lo, capped in zip(*(lost[name].tolist() for name in _NAMED), strict=True):
            fate = f"which {CAPPED} drops" if capped else "which is kept"
            texts[row] = f"like {hi:016x}{lo:016x}, {fate}"
        cap = rules.get(MaxPerCaption)
        for row in beyond.tolist():
            assert cap is not None
            texts[row] = (
                f"{many(cap.max, 'row')} of its cluster of captions {'is' if cap.max == 1 else 'are'} kept"
            )
        for row in np.flatnonzero(judged.removed != "").tolist():
            texts[row] = said(judged.removed[row])
        return pa.array(texts, pa.string())

    def _splits(self, judged: Judged, kept: npt.NDArray[np.bool_]) -> pa.Array:
        """The split of every kept row: `eval` where it is held out, else drawn by its coarsest cluster, so that
        duplicates never straddle."""
        keys = judged.signals["key"].to_numpy(zero_copy_only=False)
        for kind in KINDS:
            keys = np.where(judged.clusters[kind] == "", keys, judged.clusters[kind])
        seed, share = self._judge.recipe.seed, self._judge.recipe.splits.val
        val = [
            bool(share and keep) and is_drawn(share, seed, "split", key)
            for key, keep in zip(keys, kept, strict=True)
        ]
        drawn = pc.if_else(pa.array(val, pa.bool_()), "val", "train")
        names = pc.if_else(pa.array(judged.evaluation), "eval", drawn)
        return pc.if_else(pa.array(kept), names, pa.scalar(None, pa.string()))


_NAMED: Final = ("row", "key_hi", "key_lo", "capped")


def _shown(judged: Judged, row: int) -> str:
    """Whose image a row shows of the evaluation rows."""
    source, key, distance = (judged.shown[name][row] for name in ("source", "key", "distance"))
    return f"like {key} of {source}, {distance} bits apart" if distance else f"like {key} of {source}"


def funnels(table: pa.Table, bounds: Sequence[tuple[int, int]]) -> list[Json]:
    """For each part of a table of decisions: rows, decisions, first reasons, all failed rules, errors.

    `kept_digest` is one of which rows are kept and in which split: all that later phases see of decisions.
    """
    decisions, reasons = _encoded(table["decision"]), _encoded(table["reason"])
    kept, dropped, quarantined = (decisions.where(name) for name in ("kept", "dropped", "quarantined"))
    lists = table["failed"].combine_chunks()
    failed = _encoded(lists.flatten())
    ends = np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy())])
    members, splits = (table[name].to_pylist() for name in ("member", "split"))
    found = []
    for start, end in bounds:
        part = slice(start, end)
        counts = decisions.counts(part)
        named = zip(members[part], splits[part], kept[part].tolist(), strict=True)
        found.append(
            {
                "rows": end - start,
                **{name: counts.get(name, 0) for name in ("kept", "dropped", "quarantined")},
                "reasons": reasons.counts(part, dropped[part]),
                # of rows that are dropped alone
                "failed": failed.counts(slice(ends[start], ends[end])),
                "errors": reasons.counts(part, quarantined[part]),
                "kept_digest": _digest((member, split) for member, split, stays in named if stays),
            }
        )
    return found


def _digest(rows: Iterable[tuple[str, str]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for member, split in rows:
        digest.update(f"{len(member)}:{member}:{split}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Encoded:
    """A column of texts as numbers of its distinct ones, -1 for null."""

    names: list[str]
    codes: npt.NDArray[np.int64]

    def where(self, name: str) -> npt.NDArray[np.bool_]:
        """Returns which rows hold a text."""
        number = self.names.index(name) if name in self.names else len(self.names)
        found: npt.NDArray[np.bool_] = self.codes == number
        return found

    def counts(self, part: slice, which: npt.NDArray[np.bool_] | None = None) -> dict[str, int]:
        """Returns how often each text stands in a part of the rows, or in some rows of it, by text."""
        codes = self.codes[part] if which is None else self.codes[part][which]
        numbers = np.bincount(codes[codes >= 0], minlength=len(self.names)).tolist()
        return dict(sorted((name, count) for name, count in zip(self.names, numbers, strict=True) if count))


def _encoded(column: Any) -> _Encoded:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = whole.dictionary_encode()
    return _Encoded(encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy().astype(np.int64))


def _first(lists: pa.Array) -> pa.Array:
    """The first element of each list; null where it is empty."""
    lengths = pc.list_value_length(lists)
    padded = pc.if_else(pc.greater(lengths, 0), lists, pa.scalar([None], pa.list_(pa.string())))
    return pc.list_element(padded, 0)
