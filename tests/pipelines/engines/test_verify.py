"""`vlcorpus verify` says the same of a corpus on every engine, and a shard that kills who reads it is a finding."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vlcorpus
from pipelines.audit.verify import verify
from pipelines.engines.local import LocalEngine
from pipelines.engines.step import Limits
from pipelines.progress import Reporter
from pipelines.runs import Options, engine_for
from schemas.errors import VerifyError
from tests.bits import cut, flip
from tests.pipelines import raw
from tests.pipelines.building import build
from tests.pipelines.corpora import FOLDER, seal
from tests.pipelines.corpora import build as small
from tests.pipelines.crawls import run_inline
from tests.pipelines.crawls import vlcorpus as command
from tests.pipelines.engines.contract import QUIET

pytestmark = QUIET


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of some tars."""
    folder = tmp_path_factory.mktemp("sound")
    raw.shard(folder / "in" / "0.tar", range(14))
    sources = [{"id": "web", "path": str(folder / "in")}]
    build({"sources": sources, "rules": raw.OFF, "shards": {"samples": 2}}, folder / "out")
    return folder / "out"


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


DAMAGES: list[tuple[str, Callable[[Path], object]]] = [
    ("tar", flip),
    ("parquet", flip),
    ("tar", partial(cut, count=100)),
    ("parquet", partial(cut, count=100)),
    ("tar", append),
    ("tar", Path.unlink),
    ("parquet", Path.unlink),
]


@pytest.fixture(scope="module")
def damaged(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the corpus in which each shard has another damage, beside a file that does not belong."""
    out = Path(shutil.copytree(sound, tmp_path_factory.mktemp("damaged") / "out"))
    shards = sorted(path.with_suffix("") for path in out.rglob("shards/*/*/*/*.tar"))
    assert len(shards) >= len(DAMAGES)
    for shard, (suffix, how) in zip(shards, DAMAGES, strict=False):
        how(shard.with_suffix(f".{suffix}"))
    (out / "shards" / "stray.tar").write_bytes(b"stray")
    return out


@contextmanager
def tasks_of(shards: int) -> Iterator[None]:
    """Within it a task has so many shards."""
    with (
        mock.patch("pipelines.audit.shards._SHARDS_A_TASK", shards),
        mock.patch("pipelines.audit.shards._SHARDS_AT_ONCE", shards),
    ):
        yield


def test_every_engine_says_the_same(
    sound: Path, damaged: Path, other_engine: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of damage has the sentences that the caller's own process finds, in the same order.

    The folder may be relative, though workers run elsewhere.
    """
    monkeypatch.chdir(damaged.parent)
    found = verify(damaged.name)
    assert len(found) >= len(DAMAGES) + 1
    with tasks_of(2), engine_for(other_engine, Reporter()) as engine:
        assert verify(damaged.name, engine=engine) == found
        assert verify(str(sound), engine=engine) == []


def test_the_cut_into_tasks_changes_nothing(damaged: Path) -> None:
    """One shard a task or all of them: the same report."""
    found = verify(str(damaged))
    for shards in (1, 3, 100):
        with tasks_of(shards):
            assert verify(str(damaged)) == found


def copies(folder: Path, count: int) -> list[str]:
    """Writes a corpus with so many shards of the same samples; returns their names without suffix."""
    small(folder)
    names = [f"{FOLDER}/{number:05d}" for number in range(count)]
    for name in names[1:]:
        for suffix in ("tar", "parquet"):
            shutil.copy(folder / f"{names[0]}.{suffix}", folder / f"{name}.{suffix}")
            seal(folder, f"{name}.{suffix}")
    return names


def test_a_shard_that_kills_its_reader_is_a_finding(tmp_path: Path) -> None:
    """The shard is named, with what became of who read it; what is wrong with others is said all the same."""
    names = copies(tmp_path, 4)
    flip(tmp_path / f"{names[3]}.tar")
    with (
        mock.patch("pipelines.audit.shards._WORKER", "tests.pipelines.engines.doomed:Doomed"),
        mock.patch("pipelines.audit.shards._LIMITS", Limits(row_cpu_seconds=1)),
        engine_for(Options("local", workers=2), Reporter()) as engine,
    ):
        found = verify(str(tmp_path), engine=engine)
    ended = "cannot be checked: the process that reads it was lost or stopped"
    crashed, late = (f"{name}.parquet and {name}.tar: {ended} " for name in names[1:3])
    assert f"{crashed}(it crashed)" in found
    assert [problem for problem in found if problem.startswith(f"{late}(it took more than 1 seconds")]
    assert any(problem.startswith(f"{names[3]}.tar: ") and "SHA-256 is" in problem for problem in found)
    assert not any(problem.startswith(f"{names[0]}.") for problem in found)


def bomb(path: Path) -> None:
    """Puts an index in place whose one sample stands there many times: some kilobytes that unpack to gigabytes."""
    (row,) = pq.read_table(path).slice(0, 1).to_pylist()
    row["sample"] = "x" * 4_000_000
    one, count = pa.Table.from_pylist([row], pq.read_schema(path)), 1_000
    columns = {
        name: pa.concat_arrays([one[name].combine_chunks()] * count)
        for name in set(one.column_names) - {"sample"}
    }
    sample = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), one["sample"].combine_chunks())
    many = pa.table({**columns, "sample": sample}).select(one.column_names)
    pq.write_table(many, path, compression="zstd", dictionary_pagesize_limit=1 << 30, store_schema=False)


def test_an_index_that_unpacks_to_gigabytes_is_a_finding(tmp_path: Path) -> None:
    """A worker's memory has a limit: the shard is named, and the others are checked."""
    names = copies(tmp_path, 3)
    bomb(tmp_path / f"{names[1]}.parquet")
    assert (tmp_path / f"{names[1]}.parquet").stat().st_size < 100_000
    flip(tmp_path / f"{names[2]}.tar")
    with (
        mock.patch("pipelines.audit.shards._LIMITS", Limits(memory_bytes=600_000_000)),
        engine_for(Options("local", workers=1), Reporter()) as engine,
    ):
        found = verify(str(tmp_path), engine=engine)
    assert any(problem.startswith(f"{names[1]}.") and "cannot be " in problem for problem in found)
    assert any(problem.startswith(f"{names[2]}.tar: ") and "SHA-256 is" in problem for problem in found)


def test_a_worker_that_sees_another_folder_says_so(sound: Path) -> None:
    """Where a machine has no such folder, or another corpus in it, nothing is called missing: one sentence says it."""
    with (
        mock.patch("pipelines.audit.shards.digest_of", side_effect=["0" * 64, "1" * 64]),
        pytest.raises(VerifyError, match=r"another manifest\.json .* all machines share") as caught,
    ):
        verify(str(sound))
    assert "\n" not in str(caught.value)


def test_nothing_is_written_into_a_corpus(sound: Path) -> None:
    """Workers leave neither file nor folder behind, and no time is another."""
    before = {path: path.stat().st_mtime_ns for path in [sound, *sound.rglob("*")]}
    assert vlcorpus.Corpus.open(sound).verify(engine="local", workers=2) == []
    assert {path: path.stat().st_mtime_ns for path in [sound, *sound.rglob("*")]} == before


def test_workers_alone_are_local_processes(sound: Path) -> None:
    """A number of workers without an engine is not ignored: so many local processes read the shards."""
    with mock.patch("pipelines.runs.LocalEngine", wraps=LocalEngine) as made:
        assert vlcorpus.Corpus.open(sound).verify(workers=2) == []
        assert run_inline("verify", sound, "--workers", "3").returncode == 0
    assert [call.args[0] for call in made.call_args_list] == [2, 3]


def test_the_command_prints_the_same(damaged: Path) -> None:
    """`vlcorpus verify` has the same lines and the same exit code with and without workers."""
    inline = run_inline("verify", damaged)
    local = command("verify", damaged, "--engine", "local", "--workers", "2")
    assert (local.returncode, local.stdout) == (inline.returncode, inline.stdout)
    assert inline.returncode == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--address", "localhost:1"), "needs the engine ray"),
        (("--engine", "inline", "--workers", "2"), "need the engine local, ray or beam"),
        (("--engine", "local", "--workers", "0"), "workers"),
        (("--engine", "spark"), "engine"),
    ],
)
def test_options_that_do_not_fit_are_refused(sound: Path, options: tuple[str, ...], message: str) -> None:
    """An address without Ray, no worker at all, or an engine that nobody knows: one sentence."""
    done = run_inline("verify", sound, *options)
    assert done.returncode != 0
    assert re.search(message, done.stdout + done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
