"""Judges groups of small shards: which rules each row fails before `clip`, and the clusters that it is in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters.corpus_rules import Phash
from filters.rules import dedup_language, detail, failures
from pipelines.engines.step import At, Json
from pipelines.layout import Layout
from pipelines.outputs import damaged
from pipelines.parquet import by_member, read_table
from pipelines.phases.dedup.signals import CAPTION, EVAL, KINDS, LEAST_ROWS, PLACE, batches, held_out
from pipelines.phases.dedup.tables import Folder
from pipelines.phases.select.judged import Judged, digests, packed, unpacked
from pipelines.phases.select.removed import Found, Memory, check
from pipelines.recipe.model import Recipe, Source


class Judge:
    """Judges shards by the recipe's rules before `clip`."""

    def __init__(self, setup: Json) -> None:
        self.recipe = Recipe.model_validate(setup["recipe"])
        self.layout = Layout(**setup["layout"])
        self._removed = Found(Folder(setup).read(setup["removed"])) if setup.get("removed") else Found()
        self._columns = self.recipe.signals.schema.names
        self._rank = {source.id: rank for rank, source in enumerate(self.recipe.sources)}

    def shard(self, task: Json) -> tuple[Judged, Memory]:
        """One shard: read, judged, and joined with its clusters; and what work/removed knows of it."""
        return self.shards(self.recipe.source(task["source"]), [task["shard"]], task["number"])

    def shards(self, source: Source, names: Sequence[str], first: int) -> tuple[Judged, Memory]:
        """Some shards of a source, whose numbers follow on `first`, as one; and what work/removed knows of them.

        A rule costs as much for one row as for a hundred.
        """
        read = [self._read(source, name) for name in names]
        tables, memory = [signals for signals, _ in read], Memory.joined([one for _, one in read])
        signals = pa.concat_tables(tables).combine_chunks()
        numbers = [np.arange(one.num_rows) + (first + n << PLACE) for n, one in enumerate(tables)]
        rules = self.recipe.rules_of(source)
        if not source.needs_captions:
            rules = rules.model_copy(update={"no_caption": False})
        clusters, shown = self._clusters(source.id, names, tables)
        failed = with_guard(failures(signals, rules, self.recipe.languages_of(source)), shown["source"])
        failed = with_refusals(failed, signals)
        measured = pc.is_null(signals["error"]).to_numpy(zero_copy_only=False)
        passes = pc.equal(pc.list_value_length(failed), 0).to_numpy(zero_copy_only=False)
        languages = pc.fill_null(dedup_language(signals, self.recipe.languages_of(source)), "")
        scores, scored = self._scores(source, names, tables)
        places = np.concatenate(numbers)
        judged = Judged(
            source=source,
            signals=signals,
            failed=failed,
            candidate=measured & passes,
            languages=languages.to_numpy(zero_copy_only=False),
            scores=scores,
            scored=scored,
            clusters=clusters,
            evaluation=self._evaluation(source, signals),
            shown=shown,
            removed=self._removed.why(places, clusters),
            places=places,
        )
        return judged, memory

    def load(self, task: Json) -> Judged:
        """The shards of a task, as Judging left them."""
        return unpacked(read_table(self.layout, task["judged"]), self.recipe.source(task["source"]))

    def _read(self, source: Source, shard: str) -> tuple[pa.Table, Memory]:
        """A shard's signals as rules judge them. Raises DamagedError where a column is missing."""
        path = self.layout.path("signals", source.id, shard)
        signals = read_table(self.layout, path)
        if missing := [name for name in self._columns if name not in signals.column_names]:
            raise damaged(path, f"its column {missing[0]} is missing")
        memory = Memory.read(self.layout, source, shard, signals)
        return memory.restored(signals), memory

    def ranks(self, judged: Judged) -> dict[str, npt.NDArray[Any]]:
        """What keepers are chosen by: the smaller the better, in the order of the keys."""
        signals = judged.signals
        width, height = (
            signals[name].fill_null(0).to_numpy().astype(np.int64) for name in ("width", "height")
        )
        length = signals["caption_chars"].fill_null(0).to_numpy().astype(np.int64)
        # an evaluation row is no repeat of a training row
        rank = np.where(judged.evaluation, -1, self._rank[judged.source.id]).astype(np.int64)
        if self.recipe.captions == "longest":
            return {"rank": rank, "first": -length, "second": -width * height}
        return {"rank": rank, "first": -width * height, "second": -length}

    def variants(self, judged: Judged) -> pa.Array:
        """Of one image one row is kept for each value of this: its language, nothing, or its caption."""
        if self.recipe.captions == "longest":
            return pa.array([""] * judged.signals.num_rows, pa.string())
        if self.recipe.captions == "all":
            return judged.signals["caption"].fill_null("").combine_chunks()
        return pa.array(judged.languages, pa.string())

    def _scores(
        self, source: Source, names: Sequence[str], tables: Sequence[pa.Table]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Each row's CLIP score, and whether its shard has any."""
        scores, scored = [], []
        for name, signals in zip(names, tables, strict=True):
            path = self.layout.path("scores", source.id, name)
            there = self.recipe.is_scored(source) and self.layout.store.exists(path)
            if there:
                table = read_table(self.layout, path, ["member", "clip_score"])
                found = by_member(table, "clip_score", signals["member"])
                scores.append(np.asarray(found.to_numpy(zero_copy_only=False), np.float32))
            else:
                scores.append(np.full(signals.num_rows, np.nan, np.float32))
            scored.append(np.full(signals.num_rows, there))
        return np.concatenate(scores), np.concatenate(scored)

    def _evaluation(self, source: Source, signals: pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows are held out: all of an evaluation source, or those of the dataset's own splits."""
        if self.recipe.evaluation.get(source.id) is False:
            return held_out(signals["extra"])
        return np.full(signals.num_rows, source.role == "eval")

    def _clusters(
        self, source: str, names: Sequence[str], tables: Sequence[pa.Table]
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
        """Each row's cluster of every kind, and the evaluation row whose image it shows."""
        parts, places, count = [], [], 0
        for name, signals in zip(names, tables, strict=True):
            path = self.layout.path("clusters", source, name)
            table = read_table(self.layout, path) if self.layout.store.exists(path) else None
            if table is not None and table.num_rows:
                members = signals["member"].combine_chunks()
                at = pc.index_in(table["member"].combine_chunks(), value_set=members).fill_null(-1).to_numpy()
                parts.append(table.filter(pa.array(at >= 0)))
                places.append(at[at >= 0].astype(np.int64) + count)
            count += signals.num_rows
        clusters = {kind: np.full(count, "", object) for kind in (*KINDS, CAPTION)}
        shown = {"source": np.full(count, "", object), "key": np.full(count, "", object)}
        shown["distance"] = np.zeros(count, np.int32)
        if parts:
            table, at = pa.concat_tables(parts, promote_options="default"), np.concatenate(places)
            columns = {name: table[name].to_numpy() for name in ("kind", "cluster", "distance")}
            for kind, found in clusters.items():
                mine = columns["kind"] == kind
                found[at[mine]] = columns["cluster"][mine]
            if "eval_source" in table.column_names:
                mine = columns["kind"] == EVAL
                columns["source"] = table["eval_source"].fill_null("").to_numpy()
                for name, column in (("source", "source"), ("key", "cluster"), ("distance", "distance")):
                    shown[name][at[mine]] = columns[column][mine]
        return clusters, shown


class Judging:
    """Judges groups of shards; leaves a file of each, which the rounds and the decisions read."""

    def __init__(self, setup: Json) -> None:
        self._judge = Judge(setup)
        self._folder = Folder(setup)
        phash = self._judge.recipe.rules.get(Phash)
        self._turned = bool(phash and phash.turned)

    def run(self, task: Json, at: At) -> Json:
        """The path of the group's file."""
        source, parts = self._judge.recipe.source(task["source"]), []
        for start, end in batches(task["rows"], LEAST_ROWS):
            judged, memory = self._judge.shards(source, task["shards"][start:end], task["number"] + start)
            check(judged, memory)
            variants = digests(self._judge.variants(judged))
            parts.append(packed(judged, variants, self._details(judged), self._turned))
        path = self._folder.path("judged", task["number"])
        self._folder.write(path, pa.concat_tables(parts), scratch=True)
        return {"judged": path}

    def _details(self, judged: Judged) -> pa.Array:
        """Returns why rows failed rules over their signals, in a few words, or the error; null for removed rows."""
        signals = judged.signals
        sound = pc.is_null(signals["error"]).combine_chunks()
        failed = pc.if_else(sound, judged.failed, pa.scalar([], pa.list_(pa.string())))
        texts = [
            message or refusal or text
            for message, refusal, text in zip(
                signals["error_message"].to_pylist(),
                signals["refusal_text"].to_pylist(),
                detail(signals, failed, self._judge.recipe.rules_of(judged.source)).to_pylist(),
                strict=True,
            )
        ]
        # what is known of a removed row lies nowhere but where it is blanked
        return pa.array(texts, pa.string(), mask=judged.removed != "")


def with_guard(failed: pa.Array, sources: npt.NDArray[Any]) -> pa.Array:
    """The failed rules, before them `eval:SOURCE` where the row shows an image of that evaluation source."""
    rows = np.flatnonzero(sources != "")
    which = np.full(len(failed), -1, np.int64)
    which[rows] = np.arange(len(rows))
    return replaced(
        failed, [[f"{EVAL}:{sources[row]}", *failed[row].as_py()] for row in rows.tolist()], which
    )


def with_refusals(failed: pa.Array, signals: pa.Table) -> pa.Array:
    """The failed rules, or the reason alone for which an annotation became no sample."""
    reasons = signals["refusal"].combine_chunks()
    names = sorted(set(reasons.drop_null().to_pylist()))
    which = pc.fill_null(pc.index_in(reasons, value_set=pa.array(names, pa.string())), -1)
    return replaced(failed, [[name] for name in names], which.to_numpy())


def replaced(
    lists: pa.Array, others: Sequence[Sequence[str]], which: npt.NDArray[np.integer[Any]]
) -> pa.Array:
    """Returns the lists of rules, and where `which` is not -1 the one of that number among the others."""
    if not len(others):
        return lists
    options = pa.chunked_array([lists, pa.array(others, pa.list_(pa.string()))]).combine_chunks()
    return options.take(pa.array(np.where(which >= 0, len(lists) + which, np.arange(len(lists)))))
