"""The ledger of published tars, sound and hostile, against tarfile's own list of members."""

import tarfile
from contextlib import suppress
from pathlib import Path

from pipelines.sources import InputShard, Ledger, discover, read
from pipelines.sources.columns import Columns
from pipelines.sources.table import TAR
from schemas.errors import ShardError


def ledger_of(shard: InputShard) -> tuple[Ledger | None, int, bool]:
    """(ledger, rows, whether the tar is sound)."""
    ledgers: list[Ledger] = []
    count = 0
    sound = False
    with suppress(ShardError):
        for _ in read(shard, Columns(), ledgers=ledgers):
            count += 1
        sound = True
    return (ledgers[0] if ledgers else None), count, sound


def test_every_member_of_real_tars_is_accounted_for(test_data: Path) -> None:
    """In = used + metadata + unused, whatever the tar; in sound ones `in` is what tarfile lists."""
    paths = [
        path
        for folder in ("formats", "hostile", "cases", "pairs")
        for path in sorted((test_data / folder).rglob("*"))
        if path.name.endswith(TAR["tar"])
    ]
    compared = 0
    for path in paths:
        shard = InputShard("web", path.name, str(path), "webdataset", "tar", path.stat().st_size)
        ledger, rows, sound = ledger_of(shard)
        assert ledger is not None
        unused = sum(one.members for one in ledger.unused.values())
        assert ledger.members == ledger.used + ledger.metadata + unused, path
        assert ledger.records == rows, path
        if sound and not path.name.endswith(".zst"):
            with tarfile.open(path) as tar:
                names = [one for one in tar if one.isfile() or one.islnk() or one.issym() or one.isdev()]
            if len(names) == ledger.members:
                compared += 1
            else:  # tarfile stops at the first end mark, or at what it cannot read
                assert len(names) < ledger.members, path
    assert compared > 20


def case(test_data: Path, name: str) -> list[tuple[Ledger | None, int, bool]]:
    return [ledger_of(shard) for shard in discover("web", [str(test_data / "cases" / name)]).shards]


def test_the_cases_of_tars(test_data: Path) -> None:
    """Each situation that lost members in silence gives all its rows, or names what it leaves."""
    assert [(rows, sound) for _, rows, sound in case(test_data, "dots")] == [(5, True)]
    assert [(rows, sound) for _, rows, sound in case(test_data, "packed")] == [(4, True)] * 4
    assert [(rows, sound) for _, rows, sound in case(test_data, "hard")] == [(5, True)]
    ((unused, rows, _),) = case(test_data, "norow")
    assert unused is not None
    assert (rows, unused.unused["no_row"].images) == (4, 4)
    ((several, rows, _),) = case(test_data, "multi")
    assert several is not None
    assert (rows, several.images, several.unused) == (3, 6, {})


def test_hard_links_of_the_case_are_whole(test_data: Path) -> None:
    """No row of the case with hard links has an error."""
    (shard,) = discover("web", [str(test_data / "cases" / "hard")]).shards
    assert [row.error for row in read(shard, Columns())] == [None] * 5
