"""Where everything of a corpus lies, below its folder (local or on an object store)."""

from dataclasses import dataclass, field
from typing import Any, Final

from pipelines.files import Store, is_local, join

SHARD_PHASES: Final = ("measure", "dedup", "score", "select", "ground", "compose", "shard", "card")


@dataclass(frozen=True)
class Layout:
    """The paths of one corpus; `run` names this run's temporary folder."""

    out: str
    run: str = "0"
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def store(self) -> Store:
        return Store(self.options or None)

    @property
    def work(self) -> str:
        return join(self.out, "work")

    @property
    def tmp(self) -> str:
        """What is being written; on the same file system as the output where that is local."""
        return join(self.work, "tmp", self.run)

    @property
    def exchange(self) -> str:
        """What passes between the steps of this run, and is gone when it ends."""
        return join(self.work, "exchange", self.run)

    @property
    def is_local(self) -> bool:
        return is_local(self.out)

    def at(self, name: str) -> str:
        """The path of a file of the corpus by its name in the manifest."""
        return join(self.out, *name.split("/"))

    def signals(self, source: str, shard: str) -> str:
        return join(self.work, "signals", source, f"{shard}.parquet")

    def clusters(self, source: str, shard: str) -> str:
        return join(self.work, "clusters", source, f"{shard}.parquet")

    def scores(self, source: str, shard: str) -> str:
        return join(self.work, "scores", source, f"{shard}.parquet")

    def decisions(self, source: str, shard: str) -> str:
        return join(self.work, "decisions", source, f"{shard}.parquet")

    def grounded(self, source: str, shard: str) -> str:
        return join(self.work, "grounded", source, f"{shard}.parquet")

    def rendered(self, source: str, shard: str) -> str:
        return join(self.work, "rendered", source, f"{shard}.tar")

    def parts(self, source: str, shard: str) -> str:
        """What is read of an annotation file as one part of several."""
        return join(self.work, "parts", source, f"{shard}.jsonl")

    def drafts(self, source: str, shard: str) -> str:
        return join(self.work, "drafts", source, f"{shard}.parquet")

    def further(self, source: str, shard: str) -> str:
        """Images of a shard's rows beside each row's first."""
        return join(self.work, "further", source, f"{shard}.parquet")

    def samples(self, source: str, shard: str) -> str:
        return join(self.work, "samples", source, f"{shard}.parquet")

    def verdicts(self, source: str, shard: str) -> str:
        return join(self.work, "verdicts", source, f"{shard}.json")
