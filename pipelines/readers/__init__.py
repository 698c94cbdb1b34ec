"""Readers: raw rows of WebDataset tars, Parquet, folders of pictures and text sets, wherever they are."""

from pipelines.readers.discovery import discover
from pipelines.readers.ledger import Ledger
from pipelines.readers.rows import column_names, fetch, head, identity, read
from pipelines.readers.shard import Discovery, InputShard

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
