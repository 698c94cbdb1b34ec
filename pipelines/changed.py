"""An input shard that changed after it was measured though its size, first and last MiB are the same."""

from collections.abc import Mapping
from typing import Final

from pipelines.layout import Layout
from pipelines.readers import InputShard
from pipelines.receipts import Receipts
from schemas.errors import ChangedError

_BY_SHARD: Final = ("measure", "score", "ground", "compose")
_WHOLE: Final = ("dedup", "select", "shard")


def forget(layout: Layout, shards: Mapping[tuple[str, str], InputShard], error: ChangedError) -> None:
    """Removes what rests on the shard that `error` names, so that the next run measures it again.

    The fingerprints of that run are those of this one, for the shard's identity is the same: so no receipt may stay
    of any phase that saw the shard's signals.
    """
    for (source, shard), found in shards.items():
        if str(error).startswith(f"{found} "):
            for phase in _BY_SHARD:
                Receipts(layout, phase).forget(f"{source}/{shard}")
            layout.store.remove(layout.scores(source, shard))
            layout.store.remove(layout.grounded(source, shard))
    for phase in _WHOLE:
        receipts = Receipts(layout, phase)
        for name in receipts.strangers([]):
            receipts.forget(name)
