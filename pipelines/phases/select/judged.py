"""The judged rows of a group of shards, in memory and as the table on disk that the rounds of select read."""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.phases.dedup.signals import CAPTION, KINDS
from pipelines.recipe.model import Source
from schemas.row import ROW

_SIGNALS: Final = ("key", "error", "width", "height", "caption_chars", "sha256", "pixels", "phash")
"""The signals that the rounds and the decisions read."""
_CLUSTERS: Final = (*KINDS, CAPTION)
_SHOWN: Final = ("source", "key", "distance")


@dataclass(frozen=True)
class Judged:
    """The signals of shards of a source with, for each row, the rules that it failed and whether it is a candidate.

    A candidate was measured and passes every rule before `clip`. `languages` are those that captions
    are compared in; `scores` is NaN where a row has none, and `scored` says whether its shard has any.
    `clusters` holds for each kind the cluster's key ("" where the row is in none). `evaluation` are the
    rows held out for evaluation; `shown` says of each other row whose image it shows of those: `source`
    ("" where none's), `key` and `distance`. `removed` says by what the list removes a row ("" where it does not);
    such a row may still be a candidate, and counts in `keep` thresholds. `places` are the rows' numbers in the corpus,
    ascending.
    """

    source: Source
    signals: pa.Table
    failed: pa.Array
    candidate: npt.NDArray[np.bool_]
    languages: npt.NDArray[Any]
    scores: npt.NDArray[np.float32]
    scored: npt.NDArray[np.bool_]
    clusters: dict[str, npt.NDArray[Any]]
    evaluation: npt.NDArray[np.bool_]
    shown: dict[str, npt.NDArray[Any]]
    removed: npt.NDArray[Any]
    places: npt.NDArray[np.int64]

    def taken(self, column: str, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Returns a signal of the rows at these places in the table."""
        return self.signals[column].combine_chunks().take(pa.array(rows))

    def at(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns the places in the table of rows, by their numbers in the corpus."""
        return np.searchsorted(self.places, numbers)


def packed(judged: Judged, variants: npt.NDArray[np.uint64], details: pa.Array, turned: bool) -> pa.Table:
    """Returns the table that `unpacked` reads; with a number for each row's variant, and why it failed in a few words.

    Where images are sought turned, with sketches.
    """
    names = (*(name for name, _ in ROW), *_SIGNALS, *(("sketch",) if turned else ()))
    columns: dict[str, Any] = {name: judged.signals[name] for name in names}
    columns |= {"variant": variants, "detail": details, "number": judged.places, "failed": judged.failed}
    columns |= {"candidate": judged.candidate, "language": pa.array(judged.languages, pa.string())}
    columns |= {"score": judged.scores, "scored": judged.scored, "evaluation": judged.evaluation}
    columns |= {f"cluster_{kind}": pa.array(judged.clusters[kind], pa.string()) for kind in _CLUSTERS}
    columns |= {f"shown_{name}": judged.shown[name] for name in _SHOWN[2:]}
    columns |= {f"shown_{name}": pa.array(judged.shown[name], pa.string()) for name in _SHOWN[:2]}
    return pa.table({**columns, "removed": pa.array(judged.removed, pa.string())})


def unpacked(table: pa.Table, source: Source) -> Judged:
    """Returns what `packed` wrote of rows of a source; beside their signals are `variant` and `detail`."""

    def array(name: str) -> npt.NDArray[Any]:
        return np.array(table[name].to_numpy())

    return Judged(
        source=source,
        signals=table,
        failed=table["failed"].combine_chunks(),
        candidate=array("candidate"),
        languages=array("language"),
        scores=array("score"),
        scored=array("scored"),
        clusters={kind: array(f"cluster_{kind}") for kind in _CLUSTERS},
        evaluation=array("evaluation"),
        shown={name: array(f"shown_{name}") for name in _SHOWN},
        removed=array("removed"),
        places=array("number"),
    )


def digests(texts: pa.Array) -> npt.NDArray[np.uint64]:
    """Returns a 64-bit digest for every text."""
    encoded = texts.dictionary_encode()
    words = [_digest(text) for text in encoded.dictionary.to_pylist()]
    return np.array(words, np.uint64)[encoded.indices.to_numpy()] if words else np.zeros(0, np.uint64)


def _digest(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )
