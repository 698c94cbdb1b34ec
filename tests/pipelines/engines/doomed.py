"""A worker of `vlcorpus verify` that some shards end or stall."""

from pathlib import Path
from typing import Any

from pipelines.audit.shards import CheckShards
from pipelines.engines.step import Json
from tests.pipelines.engines.workers import abort, spin


class Doomed(CheckShards):
    """Checks shards, of which 00001 ends the process and 00002 never ends."""

    def _check(self, shard: Json) -> Any:
        name = Path(shard["files"][0]["name"]).stem
        {"00001": abort, "00002": spin}.get(name, lambda: None)()
        return super()._check(shard)
