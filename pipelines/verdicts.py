"""Verdicts: rows that were given up on for time or memory, or because they kill their process.

They depend on the machine, so they are an input of every later run on the same folder, are listed in
the manifest, and can be replayed elsewhere. They name a row by its input file and its member there, which stay when
the file is written anew, or cut into other parts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.engines.step import Json, Verdict
from pipelines.layout import Layout, Name, file_and_row
from schemas.errors import InputError
from schemas.plain import plain

KINDS = ("crash", "deadline", "out_of_memory")


@dataclass(frozen=True)
class ShardVerdicts:
    """Of one input file or a part of it: the verdict on each of its rows that has one, by member."""

    members: Mapping[str, Verdict] = field(default_factory=dict)

    def by_member(self) -> dict[str, Verdict]:
        """As tasks carry them and signals depend on them, sorted."""
        return dict(sorted(self.members.items()))

    def found(self, verdicts: Mapping[str, Sequence[str]], members: Mapping[str, str]) -> "ShardVerdicts":
        """With what a receipt says: verdicts and members by row number."""
        fresh = {members[row]: _verdict(*one) for row, one in verdicts.items() if row in members}
        return ShardVerdicts({**self.members, **fresh})

    def write(self, layout: Layout, source: str, file: str) -> None:
        """Keep them in the work folder."""
        record = [
            {"member": member, "kind": kind} | ({"message": message} if message else {})
            for member, (kind, message) in self.by_member().items()
        ]
        body = json.dumps(record, indent=1).encode() + b"\n"
        layout.store.write_bytes(layout.path("verdicts", source, file), body, layout.tmp)


@dataclass(frozen=True)
class Verdicts:
    """All verdicts of a corpus, by (source, input file)."""

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
                grouped.setdefault(file_of((str(one["source"]), str(one["shard"]))), []).append(given)
            return cls({name: _shard(rows) for name, rows in grouped.items()})
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} holds no verdicts ({error}): give the manifest.json of the corpus to follow"
            ) from error

    def of(self, source: str, shard: str, rows: tuple[int, ...] | None = None) -> ShardVerdicts:
        """Those of the file that a shard is or is a part of; with `rows`, of those rows of it alone."""
        found = self.shards.get(file_of((source, shard)), ShardVerdicts())
        if rows is None or not found.members:
            return found
        first, stop, *_ = rows
        return ShardVerdicts(
            {member: one for member, one in found.members.items() if first <= _number(member) < stop}
        )

    def updated(self, others: "Verdicts") -> "Verdicts":
        """These, with the others on top."""
        merged = {
            name: ShardVerdicts({**self.of(*name).members, **one.members})
            for name, one in others.shards.items()
        }
        return Verdicts({**self.shards, **merged})


def file_of(name: Name) -> Name:
    """Returns the input file that an input shard is or is a part of, by which its verdicts are kept."""
    return name[0], file_and_row(name[1])[0]


def _number(member: str) -> int:
    """Returns the number of the record in its Parquet file that a member is of; -1 for none."""
    number = member.partition("#")[0]
    return int(number) if number.isdecimal() and len(number) < 19 else -1


def _shard(record: list[Json]) -> ShardVerdicts:
    return ShardVerdicts(
        {str(one["member"]): _verdict(one["kind"], one.get("message", "")) for one in record}
    )


def _verdict(kind: str, message: str) -> Verdict:
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no verdict; there are {', '.join(KINDS)}")
    return kind, plain(message)
