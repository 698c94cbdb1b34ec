import shutil
from pathlib import Path

import fsspec
import pytest

from pipelines.audit.diff import ABSENT, Keys, Move, Row, Setting, diff
from schemas.errors import VerifyError
from tests.pipelines.corpora import build, decisions


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two corpora: in the second row 0 is dropped, row 6 is kept, and row 5 fails another rule."""
    a, b = tmp_path / "a", tmp_path / "b"
    build(a, settings={"min_side": {"min": 200}})
    changed = decisions({0: ("dropped", "phash"), 5: ("dropped", "phash"), 6: ("kept", None)})
    build(b, changed, settings={"min_side": {"min": 100}, "emoji": {}})
    return a, b


def row(number: int) -> Row:
    return Row("web", "00000", f"{number:09d}")


def key(number: int) -> str:
    return f"{number:032x}"


def test_a_corpus_does_not_differ_from_itself(tmp_path: Path) -> None:
    """Nothing changed means nothing to tell."""
    build(tmp_path / "a")
    found = diff(str(tmp_path / "a"), str(tmp_path / "a"))
    assert found.same
    assert found.moves == ()


def test_thresholds_rows_and_keys_that_changed_are_told(pair: tuple[Path, Path]) -> None:
    """Settings by source and rule, rows by what they were and are, keys that went and came."""
    found = diff(str(pair[0]), str(pair[1]))
    assert found.settings == (
        Setting("web", "emoji", None, {}),
        Setting("web", "min_side", {"min": 200}, {"min": 100}),
    )
    assert found.moves == (
        Move("dropped:phash", "kept", 1, (row(6),)),
        Move("dropped:script", "dropped:phash", 1, (row(5),)),
        Move("kept", "dropped:phash", 1, (row(0),)),
    )
    assert (found.gone, found.new) == (Keys(1, (key(0),)), Keys(1, (key(6),)))
    assert not found.same


def test_rows_that_one_side_lacks_are_absent(tmp_path: Path) -> None:
    """A row that only one ledger knows moves from or to absent; examples are the first by name."""
    build(tmp_path / "a", decisions()[:3])
    build(tmp_path / "b")
    found = diff(str(tmp_path / "a"), str(tmp_path / "b"), examples=2)
    assert found.moves is not None
    assert found.moves[0] == Move(ABSENT, "dropped:phash", 3, (row(6), row(7)))
    assert sum(move.rows for move in found.moves) == 7
    assert found.new == Keys(2, (key(3), key(4)))


def test_without_work_the_keys_are_compared(pair: tuple[Path, Path]) -> None:
    """A published corpus has no work/: then moves is None and keys still tell."""
    shutil.rmtree(pair[0] / "work")
    found = diff(str(pair[0]), str(pair[1]))
    assert found.moves is None
    assert (found.gone.count, found.new.count) == (1, 1)


def test_a_corpus_without_shards_lacks_every_key(pair: tuple[Path, Path]) -> None:
    """No index at all is the same as no key."""
    shutil.rmtree(pair[1] / "shards")
    found = diff(str(pair[0]), str(pair[1]))
    assert (found.gone.count, found.new.count) == (5, 0)


def test_odd_names_are_names_not_patterns(tmp_path: Path) -> None:
    """Brackets, stars and quotes in a path are read as they are."""
    odd = tmp_path / "x[1]*'?=y"
    build(odd)
    build(tmp_path / "b")
    found = diff(str(odd), str(tmp_path / "b"))
    assert found.same
    assert found.moves == ()


def test_any_store_can_be_compared(pair: tuple[Path, Path]) -> None:
    """A corpus on an object store compares with one on disk."""
    store = fsspec.filesystem("memory")
    store.put(str(pair[0]), "/diff-corpus", recursive=True)
    try:
        assert diff("memory://diff-corpus", str(pair[1])) == diff(str(pair[0]), str(pair[1]))
    finally:
        store.rm("/diff-corpus", recursive=True)


def test_damage_is_one_sentence(pair: tuple[Path, Path]) -> None:
    """A folder without a manifest, or with a broken file, is a VerifyError."""
    (pair[1] / "work/decisions/web/00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(VerifyError, match="cannot be compared") as caught:
        diff(str(pair[0]), str(pair[1]))
    assert "\n" not in str(caught.value)
    with pytest.raises(VerifyError, match="holds no corpus"):
        diff(str(pair[0]), str(pair[0] / "nowhere"))
