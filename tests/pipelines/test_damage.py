"""What is on disk is checked before it is believed; `make chaos` does the same with many more damages."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.files import Store
from pipelines.phases.table import PHASES
from schemas.errors import OutputError
from tests.damage import Corpora, Hand, files, kind_of
from tests.deaths import WRITES


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
