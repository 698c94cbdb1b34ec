"""What select knows of a shard: which rules each row failed, and the clusters that its rows are in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters.rules import dedup_language, failures
from pipelines.engines.step import Json
from pipelines.layout import Layout
from pipelines.parquet import by_member, read_table
from pipelines.phases.dedup.signals import CAPTION, EVAL, KINDS, PLACE, held_out
from pipelines.phases.dedup.tables import Folder
from pipelines.phases.select.removed import Found, Memory
from pipelines.recipe.model import Recipe, Source


@dataclass(frozen=True)
class Judged:
    """A shard's signals with, for each row, the rules that it failed and whether it is a candidate.

    A candidate was measured and passes every rule before `clip`. `languages` are those that captions
    are compared in; `scores` is NaN where a row has none, and None where the source is not scored.
    `clusters` holds for each kind the cluster's key ("" where the row is in none). `evaluation` are the
    rows held out for evaluation; `shown` says of each other row whose image it shows of those: `source`
    ("" where none's), `key` and `distance`. `removed` says by what the list removes a row ("" where it does not);
    such a row may still be a candidate, and counts in `keep` thresholds. `memory` knows which rows are blanked.
    """

    source: Source
    signals: pa.Table
    failed: pa.Array
    candidate: npt.NDArray[np.bool_]
    languages: npt.NDArray[Any]
    scores: npt.NDArray[np.float32] | None
    clusters: dict[str, npt.NDArray[Any]]
    evaluation: npt.NDArray[np.bool_]
    shown: dict[str, npt.NDArray[Any]]
    removed: npt.NDArray[Any]
    memory: Memory
    first: int

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Every row's number in the corpus."""
        return np.arange(self.signals.num_rows, dtype=np.int64) + self.first

    def taken(self, column: str, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Returns a signal of the rows at these places in the shard."""
        return self.signals[column].combine_chunks().take(pa.array(rows))


class Judge:
    """Judges shards by the recipe's rules before `clip`."""

    def __init__(self, setup: Json) -> None:
        self.recipe = Recipe.model_validate(setup["recipe"])
        self.layout = Layout(**setup["layout"])
        self._removed = Found(Folder(setup).read(setup["removed"])) if setup.get("removed") else Found()
        self._rank = {source.id: rank for rank, source in enumerate(self.recipe.sources)}

    def shard(self, task: Json) -> Judged:
        """One shard: read, judged, and joined with its clusters."""
        source = self.recipe.source(task["source"])
        signals = read_table(self.layout, self.layout.path("signals", source.id, task["shard"]))
        memory = Memory.read(self.layout, source, task["shard"], signals)
        signals = memory.restored(signals)
        rules = self.recipe.rules_of(source)
        if not source.needs_captions:
            rules = rules.model_copy(update={"no_caption": False})
        clusters, shown = self._clusters(source.id, task["shard"], signals)
        failed = with_guard(failures(signals, rules, self.recipe.languages_of(source)), shown["source"])
        failed = with_refusals(failed, signals)
        measured = pc.is_null(signals["error"]).to_numpy(zero_copy_only=False)
        passes = pc.equal(pc.list_value_length(failed), 0).to_numpy(zero_copy_only=False)
        languages = pc.fill_null(dedup_language(signals, self.recipe.languages_of(source)), "")
        return Judged(
            source=source,
            signals=signals,
            failed=failed,
            candidate=measured & passes,
            languages=languages.to_numpy(zero_copy_only=False),
            scores=self._scores(source, task["shard"], signals),
            clusters=clusters,
            evaluation=self._evaluation(source, signals),
            shown=shown,
            removed=self._removed.why(task["number"] << PLACE, clusters),
            memory=memory,
            first=task["number"] << PLACE,
        )

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

    def _scores(self, source: Source, shard: str, signals: pa.Table) -> npt.NDArray[np.float32] | None:
        """Each row's CLIP score; before there are any, and for sources without, None."""
        path = self.layout.path("scores", source.id, shard)
        if not self.recipe.is_scored(source) or not self.layout.store.exists(path):
            return None
        table = read_table(self.layout, path, ["member", "clip_score"])
        scores = by_member(table, "clip_score", signals["member"])
        return np.asarray(scores.to_numpy(zero_copy_only=False), np.float32)

    def _evaluation(self, source: Source, signals: pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows are held out: all of an evaluation source, or those of the dataset's own splits."""
        if self.recipe.evaluation.get(source.id) is False:
            return held_out(signals["extra"])
        return np.full(signals.num_rows, source.role == "eval")

    def _clusters(
        self, source: str, shard: str, signals: pa.Table
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
        """Each row's cluster of every kind, and the evaluation row whose image it shows."""
        members = signals["member"]
        none = np.full(len(members), "", object)
        shown = {"source": none, "key": none, "distance": np.zeros(len(members), np.int32)}
        if not self.layout.store.exists(self.layout.path("clusters", source, shard)):
            return dict.fromkeys((*KINDS, CAPTION), none), shown
        table = read_table(self.layout, self.layout.path("clusters", source, shard))

        def of(kind: str, column: str, fill: Any) -> npt.NDArray[Any]:
            mine = table.filter(pc.equal(table["kind"], kind))
            found = pc.fill_null(by_member(mine, column, members), fill)
            values: npt.NDArray[Any] = found.to_numpy(zero_copy_only=False)
            return values

        if "eval_source" in table.column_names:
            columns = {"source": ("eval_source", ""), "key": ("cluster", ""), "distance": ("distance", 0)}
            shown = {name: of(EVAL, *column) for name, column in columns.items()}
        return {kind: of(kind, "cluster", "") for kind in (*KINDS, CAPTION)}, shown


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
