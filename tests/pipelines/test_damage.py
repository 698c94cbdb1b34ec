"""What is on disk is checked before it is believed; `make chaos` does the same with many more damages."""

import datetime
import errno
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.audit import status
from pipelines.engines.step import Json, Step
from pipelines.files import Store
from pipelines.phases.table import PHASES
from pipelines.removal import Removed
from pipelines.watching import Watching
from schemas.errors import OutputError
from tests.damage import Corpora, Hand, Heard, files, kind_of, recipe_of
from tests.deaths import WRITES
from tests.pipelines.building import build
from tests.pipelines.phases.test_ground import pairs


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    return Corpora(tmp_path_factory.mktemp("damage"))


def test_whatever_is_damaged_is_made_again(corpora: Corpora) -> None:
    """Sixty files of all kinds, damaged after all phases: each next build ends with the files of an undisturbed one."""
    hand = Hand(corpora, seed=1)
    for number in range(60):
        hand.damage(number)
    assert hand.counts["mended"] >= 50


def test_every_kind_of_file_is_there_to_be_damaged(corpora: Corpora) -> None:
    """The corpus that is damaged has a file of every kind that a phase writes."""
    names = {
        kind_of(path.relative_to(corpora.at("card")).as_posix()) for path in corpora.at("card").rglob("*.*")
    }
    assert names >= {
        *(
            "signals",
            "further",
            "drafts",
            "clusters",
            "scores",
            "decisions",
            "removed",
            "grounded",
            "samples",
        ),
        *(
            "rendered",
            "parts",
            "verdicts",
            "log",
            "shards.tar",
            "shards.parquet",
            "manifest.json",
            "README.md",
        ),
        *(f"receipts/{one}" for one in ("render", "split", "measure", "dedup", "score", "select", "ground")),
        *(f"receipts/{one}" for one in ("compose", "shard", "card")),
    }


def test_a_sentence_says_what_is_made_again(corpora: Corpora) -> None:
    """The line names the file and what is wrong with it; the build that follows has nothing to say any more."""
    with corpora.copied("card") as corpus:
        name = "work/signals/web/0.parquet"
        (corpus / name).write_bytes(b"")
        assert f"measure: {name} is empty: it is made again" in corpora.build(corpus)
        assert not [line for line in corpora.build(corpus) if "made again" in line]


def test_files_that_were_copied_are_read_once(corpora: Corpora) -> None:
    """A file whose time alone is another is compared with its digest, and believed."""
    with corpora.copied("card") as corpus:
        for path in corpus.rglob("*"):
            path.touch()
        assert not [line for line in corpora.build(corpus) if "made again" in line]


def test_damage_that_no_listing_shows_is_found_by_whoever_reads(corpora: Corpora) -> None:
    """A file of the same size and time with other bytes is made again by the run whose phase reads it."""
    for phase, name in (
        ("measure", "work/signals/web/0.parquet"),
        ("measure", "work/rendered/scenes/scenes-00000.tar"),
        ("dedup", "work/clusters/web/1.parquet"),
        ("score", "work/scores/web/0.parquet"),
        ("select", "work/decisions/boxes"),
        ("compose", "work/samples/several/1.parquet"),
    ):
        with corpora.copied(phase) as corpus:
            found = corpus / name
            path = found if found.is_file() else min(found.iterdir())
            times = path.stat()
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            said = corpora.build(corpus)
            assert [line for line in said if f"{path} is damaged" in line], name
            assert files(corpus) == corpora.sound, name


@pytest.mark.parametrize("worker", ["values:EqualValues", "candidates:Judging"])
def test_a_shard_in_a_group_is_held_against_its_digest(corpora: Corpora, worker: str) -> None:
    """A bit flips in a column's name just before a step that reads many shards in one task: that step notices."""
    real, steps = Watching._told, list[str]()

    def flipped(self: Watching, step: Step, tasks: Sequence[Json]) -> Sequence[Json]:
        if step.worker.endswith(worker) and step.worker not in steps:
            rename_column(corpus / "work/signals/web/1.parquet", "caption")
        steps.append(step.worker)
        return real(self, step, tasks)

    with corpora.copied("measure") as corpus, mock.patch.object(Watching, "_told", flipped):
        path = corpus / "work/signals/web/1.parquet"
        said = corpora.build(corpus)
        assert [line for line in said if f"{path} is damaged (it holds other bytes" in line]
        assert files(corpus) == corpora.sound


@pytest.mark.parametrize(
    ("phase", "column", "value"), [("dedup", "sha256", "0" * 64), ("select", "error", "decode")]
)
def test_what_was_made_of_a_damaged_file_is_made_again(
    corpora: Corpora, tmp_path: Path, phase: str, column: str, value: str
) -> None:
    """A phase works on values that were not measured; a later one notices, and nothing that was made of them stays."""
    believed, begins, heard = Watching._believed, Heard.begin, list[str]()

    def blind(self: Watching, reads: Iterable[str], task: Json) -> dict[str, str]:
        return believed(self, reads, task) if heard[-1] == "compose" else {}

    def begin(self: Heard, name: str, tasks: int, done: int) -> None:
        if name == phase and phase not in heard:
            path = tmp_path / "corpus/work/signals/several/1.parquet"
            table = pq.ParquetFile(path).read()
            at = table.schema.get_field_index(column)
            values = pa.array([value] * table.num_rows)
            pq.write_table(table.set_column(at, table.schema.field(at), values), path)
        heard.append(name)
        begins(self, name, tasks, done)

    # a list of removed rows has select begin anew in any case
    with mock.patch.object(corpora, "removed", Removed()):
        corpora.build(tmp_path / "sound")
        with mock.patch.object(Watching, "_believed", blind), mock.patch.object(Heard, "begin", begin):
            said = corpora.build(tmp_path / "corpus")
    assert heard.count(phase) == 2
    assert [line for line in said if "several/1.parquet is damaged (it holds other bytes" in line]
    assert files(tmp_path / "corpus") == files(tmp_path / "sound")


def rename_column(path: Path, name: str) -> None:
    """Flips one bit of a column's name in the footer of a Parquet file; its size and time stay."""
    times, data = path.stat(), bytearray(path.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[data.index(bytes([len(name)]) + name.encode(), footer) + 1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_removal_that_was_stopped_is_not_called_damage(
    corpora: Corpora, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run says that rows were being removed, makes those files again, and ends equal."""
    with corpora.copied("score") as corpus:
        real = Store.write_atomic

        def stopping(self: Store, final: str, tmp_dir: str | Path, *, scratch: bool = False) -> Any:
            if final.endswith("work/decisions/web/1.parquet"):
                raise OutputError("stopped")
            return real(self, final, tmp_dir, scratch=scratch)

        monkeypatch.setattr(Store, "write_atomic", stopping)
        with pytest.raises(OutputError, match="stopped"):
            corpora.build(corpus)
        monkeypatch.undo()
        again = [line for line in corpora.build(corpus) if "made again" in line]
        assert again == ["measure: made again: 1 file that a removal of rows was at when it was stopped"]
        assert files(corpus) == corpora.sound


@pytest.mark.parametrize("phase", WRITES)
def test_a_full_disk_in_each_phase(corpora: Corpora, phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run stops with a sentence that names the file and what to do; with room again it goes on and ends equal."""
    with corpora.copied(before(phase)) as corpus:
        real = Store.write_atomic

        @contextmanager
        def full(self: Store, final: str, tmp_dir: str | Path, *, scratch: bool = False) -> Iterator[Path]:
            with real(self, final, tmp_dir, scratch=scratch) as path:
                yield path
                if WRITES[phase] in final:
                    raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Store, "write_atomic", full)
        with pytest.raises(
            OutputError, match=f"cannot write .*{WRITES[phase]}.*make room .* the same command again"
        ):
            corpora.build(corpus)
        monkeypatch.undo()
        corpora.build(corpus)
        assert files(corpus) == corpora.sound


YEAR = 366 * 24 * 3600


def ahead(corpus: Path) -> None:
    """Dates all files and folders a year ahead, as a clock finds them that was put back by a year."""
    for path in (corpus, *corpus.rglob("*")):
        later = path.stat().st_mtime_ns + YEAR * 10**9
        os.utime(path, ns=(later, later))


@pytest.mark.parametrize("phase", ["measure", "select", "shard", "card"])
def test_a_clock_that_is_put_back(corpora: Corpora, phase: str) -> None:
    """What lies there from the future is believed, nothing of it is removed, and the run that follows ends equal."""
    with corpora.copied(phase) as corpus:
        # what a run that was killed leaves goes whatever its date
        (corpus / "work/tmp/killed").mkdir(parents=True)
        (corpus / "work/tmp/killed/a.tmp").touch()
        ahead(corpus)
        assert not [line for line in corpora.build(corpus) if "made again" in line]
        assert files(corpus) == corpora.sound
        assert status.read(str(corpus)).finished


def test_a_change_after_the_clock_was_put_back_is_seen(tmp_path: Path) -> None:
    """An input that changes is measured again, though it is older by its date than what was measured of it."""
    recipe = recipe_of(tmp_path / "in")
    corpora = [tmp_path / name for name in ("out", "fresh")]
    build(recipe, corpora[0], until="dedup")
    ahead(tmp_path)
    pairs(tmp_path / "in" / "pairs" / "0.tar", range(40, 48))
    _, heard = build(recipe, corpora[0], until="dedup")
    build(recipe, corpora[1], until="dedup")
    assert heard.ran["measure"] == 1
    assert signals(corpora[0]) == signals(corpora[1])


def signals(corpus: Path) -> dict[str, bytes]:
    """The files of work/signals, by name."""
    return {name: data for name, data in files(corpus).items() if name.startswith("work/signals/")}


@pytest.mark.parametrize("phase", ["measure", "compose"])
def test_a_clock_that_is_put_back_while_a_build_runs(corpora: Corpora, phase: str) -> None:
    """The corpus is the same, no time is negative, and the newest log is that of the last run."""
    jumped, real, nanoseconds = False, time.time, time.time_ns

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            return super().now(tz) - datetime.timedelta(seconds=YEAR * jumped)

    def jump(*_: object, name: str, **__: object) -> None:
        nonlocal jumped
        jumped = jumped or name == phase

    with (
        corpora.copied("render") as corpus,
        mock.patch("time.time", side_effect=lambda: real() - YEAR * jumped),
        mock.patch("time.time_ns", side_effect=lambda: nanoseconds() - YEAR * 10**9 * jumped),
        mock.patch("datetime.datetime", Clock),
        mock.patch.object(Heard, "begin", lambda self, name, tasks, done: jump(name=name)),
    ):
        corpora.build(corpus)
        assert files(corpus) == corpora.sound
        corpora.build(corpus)
        found = status.read(str(corpus))
        assert (found.finished, found.phase) == (True, "card")
        assert json.loads((corpus / "run.json").read_text())["seconds"] >= 0
        logs = [path.read_text().splitlines() for path in sorted((corpus / "work/log").glob("*.jsonl"))]
        assert found.last == [json.loads(line) for line in logs[-1]]
        spent = [
            event["seconds"] for log in logs for event in map(json.loads, log) if event["event"] == "end"
        ]
        assert spent
        assert min(spent) >= 0


def before(phase: str) -> str:
    """Returns the name of the phase before one."""
    names = [one.name for one in PHASES]
    return names[names.index(phase) - 1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_of_another_user(corpora: Corpora) -> None:
    """A corpus that belongs to somebody else is not touched: one sentence says that the rights to it are missing."""
    with corpora.copied("card") as corpus:
        (corpus / "work/signals/web/0.parquet").unlink()
        for path in (corpus, *corpus.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        there = files(corpus)
        for path in corpus.parents:
            if path.owner() == "root" and path != Path("/"):
                path.chmod(path.stat().st_mode | 0o055)
        os.seteuid(65534)
        try:
            with pytest.raises(OutputError, match=r"permission denied; check the rights"):
                corpora.build(corpus)
        finally:
            os.seteuid(0)
        assert files(corpus) == there
