"""Verdicts: rows that were given up on for time or memory, or because they kill their process.

They depend on the machine, so they are an input of every later run on the same folder, are listed in
the manifest, and can be replayed elsewhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.engines.step import Json
from pipelines.files import join
from pipelines.layout import Layout
from schemas.errors import InputError

KINDS = ("crash", "deadline", "out_of_memory")


@dataclass(frozen=True)
class ShardVerdicts:
    """Of one shard: row number -> (member, kind)."""

    rows: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    def by_row(self) -> dict[str, str]:
        """As a task carries them: row number -> kind."""
        return {str(row): kind for row, (_, kind) in sorted(self.rows.items())}

    def by_member(self) -> dict[str, str]:
        """As signals depend on them: member -> kind."""
        return {member: kind for member, kind in sorted(self.rows.values())}

    def found(self, kinds: Mapping[str, str], members: Mapping[str, str]) -> "ShardVerdicts":
        """With what a receipt says: kinds and members by row number."""
        rows = dict(self.rows)
        rows.update({int(row): (members[row], kind) for row, kind in kinds.items() if row in members})
        return ShardVerdicts(rows)

    def write(self, layout: Layout, source: str, shard: str) -> None:
        """Keep them in the work folder."""
        record = [{"row": row, "member": member, "kind": kind} for row, (member, kind) in sorted(self.rows.items())]
        body = json.dumps(record, ensure_ascii=False, indent=1).encode() + b"\n"
        layout.store.write_bytes(layout.verdicts(source, shard), body, layout.tmp)


@dataclass(frozen=True)
class Verdicts:
    """All verdicts of a corpus, by (source, shard)."""

    shards: Mapping[tuple[str, str], ShardVerdicts] = field(default_factory=dict)

    @classmethod
    def read(cls, layout: Layout) -> "Verdicts":
        """Those that the work folder keeps."""
        folder = join(layout.work, "verdicts")
        if not layout.store.is_folder(folder):
            return cls()
        found = {}
        for info in layout.store.list_files(folder):
            source, _, shard = info.name.removesuffix(".json").partition("/")
            found[(source, shard)] = _parse(layout.store.read_bytes(info.path), info.path)
        return cls(found)

    @classmethod
    def parse(cls, text: bytes, path: str) -> "Verdicts":
        """Those of a file that `dump` wrote, for a replay."""
        try:
            record = json.loads(text)
            grouped: dict[tuple[str, str], list[Json]] = {}
            for one in record:
                grouped.setdefault((str(one["source"]), str(one["shard"])), []).append(one)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no file of verdicts: {error!r}; write one with `vlcorpus status`") from error
        return cls({name: _shard(rows, path) for name, rows in grouped.items()})

    def dump(self) -> list[Json]:
        """All verdicts as JSON, sorted."""
        return [
            {"source": source, "shard": shard, "row": row, "member": member, "kind": kind}
            for (source, shard), verdicts in sorted(self.shards.items())
            for row, (member, kind) in sorted(verdicts.rows.items())
        ]

    def of(self, source: str, shard: str) -> ShardVerdicts:
        """Those of one shard."""
        return self.shards.get((source, shard), ShardVerdicts())

    def updated(self, others: "Verdicts") -> "Verdicts":
        """These, with the others on top."""
        merged = {
            name: ShardVerdicts({**self.of(*name).rows, **others.of(*name).rows})
            for name in {*self.shards, *others.shards}
        }
        return Verdicts(merged)


def _parse(text: bytes, path: str) -> ShardVerdicts:
    try:
        return _shard(json.loads(text), path)
    except ValueError as error:
        raise InputError(f"{path} is not JSON; remove it and its rows are tried again") from error


def _shard(record: list[Json], path: str) -> ShardVerdicts:
    try:
        rows = {int(one["row"]): (str(one["member"]), str(one["kind"])) for one in record}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no file of verdicts: {error!r}") from error
    unknown = sorted({kind for _, kind in rows.values()} - set(KINDS))
    if unknown:
        raise InputError(f"{path}: {unknown[0]!r} is no verdict; there are {', '.join(KINDS)}")
    return ShardVerdicts(rows)
