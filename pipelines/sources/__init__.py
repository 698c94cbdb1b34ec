"""Sources: the raw rows of tars, Parquet, folders, texts, annotations and rendered pages, wherever they are."""

from pipelines.sources.discovery import discover, input_shards
from pipelines.sources.ledger import Ledger
from pipelines.sources.rows import column_names, fetch, head, identity, options_of, read
from pipelines.sources.shard import Discovery, InputShard

__all__ = [
    "Discovery",
    "InputShard",
    "Ledger",
    "column_names",
    "discover",
    "fetch",
    "head",
    "identity",
    "input_shards",
    "options_of",
    "read",
]
