"""Verdicts: rows that were given up on for time or memory, or because they kill their process.

They depend on the machine, so they are an input of every later run on the same folder, are listed in
the manifest, and can be replayed elsewhere. They name a row by its member, which stays when the shard
is written anew.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.engines.step import Json, Verdict
from pipelines.layout import Layout, Name
from schemas.errors import InputError
from schemas.plain import plain

KINDS = ("crash", "deadline", "out_of_memory")


@dataclass(frozen=True)
class ShardVerdicts:
    """Of one shard: the verdict on each of its rows that has one, by member."""

    members: Mapping[str, Verdict] = field(default_factory=dict)

    def by_member(self) -> dict[str, Verdict]:
        """As tasks carry them and signals depend on them, sorted."""
        return dict(sorted(self.members.items()))

    def found(self, verdicts: Mapping[str, Sequence[str]], members: Mapping[str, str]) -> "ShardVerdicts":
        """With what a receipt says: verdicts and members by row number."""
        fresh = {members[row]: _verdict(*one) for row, one in verdicts.items() if row in members}
        return ShardVerdicts({**self.members, **fresh})

    def write(self, layout: Layout, source: str, shard: str) -> None:
        """Keep them in the work folder."""
        record = [
            {"member": member, "kind": kind} | ({"message": message} if message else {})
            for member, (kind, message) in self.by_member().items()
        ]
        body = json.dumps(record, indent=1).encode() + b"\n"
        layout.store.write_bytes(layout.path("verdicts", source, shard), body, layout.tmp)


@dataclass(frozen=True)
class Verdicts:
    """All verdicts of a corpus, by (source, shard)."""

    shards: Mapping[Name, ShardVerdicts] = field(default_factory=dict)

    @classmethod
    def read(cls, layout: Layout) -> "Verdicts":
        """Those that the work folder keeps."""
        found = {}
        for name, info in layout.listed("verdicts"):
            try:
                found[name] = _shard(json.loads(layout.store.read_bytes(info.path)))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{info.path} holds no verdicts ({error}): remove it, and its rows are tried again"
                ) from error
        return cls(found)

    @classmethod
    def parse(cls, text: bytes, path: str) -> "Verdicts":
        """Those of a manifest, or of a list of {source, shard, member, kind, message}, for a replay."""
        try:
            record = json.loads(text)
            grouped: dict[Name, list[Json]] = {}
            for one in record["verdicts"] if isinstance(record, dict) else record:
                # a manifest calls the kind what decisions call it
                kind, message = one.get("kind") or one["error"], one.get("message", "")
                given = {"member": one["member"], "kind": kind, "message": message}
                grouped.setdefault((str(one["source"]), str(one["shard"])), []).append(given)
            return cls({name: _shard(rows) for name, rows in grouped.items()})
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} holds no verdicts ({error}): give the manifest.json of the corpus to follow"
            ) from error

    def of(self, source: str, shard: str) -> ShardVerdicts:
        """Those of one shard."""
        return self.shards.get((source, shard), ShardVerdicts())

    def updated(self, others: "Verdicts") -> "Verdicts":
        """These, with the others on top."""
        merged = {
            name: ShardVerdicts({**self.of(*name).members, **others.of(*name).members})
            for name in {*self.shards, *others.shards}
        }
        return Verdicts(merged)


def _shard(record: list[Json]) -> ShardVerdicts:
    return ShardVerdicts(
        {str(one["member"]): _verdict(one["kind"], one.get("message", "")) for one in record}
    )


def _verdict(kind: str, message: str) -> Verdict:
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no verdict; there are {', '.join(KINDS)}")
    return kind, plain(message)
