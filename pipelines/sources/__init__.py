"""Readers: raw rows of WebDataset tars, Parquet, folders of pictures and text sets, wherever they are."""

from pipelines.sources.discovery import discover
from pipelines.sources.ledger import Ledger
from pipelines.sources.rows import column_names, fetch, head, identity, read
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
    "read",
]
