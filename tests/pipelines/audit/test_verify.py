import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.audit.verify import verify
from pipelines.layout import Layout
from pipelines.parquet import write_tables
from schemas.errors import VerifyError
from schemas.row import DECISIONS
from tests.pipelines.corpora import FOLDER, build, decisions, seal
from tests.pipelines.crawls import run_inline

TAR, INDEX = f"{FOLDER}/00000.tar", f"{FOLDER}/00000.parquet"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    build(tmp_path)
    return tmp_path


def change(corpus: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """Changes the manifest by hand, and nothing else."""
    path = corpus / "manifest.json"
    record = json.loads(path.read_bytes())
    how(record)
    path.write_text(json.dumps(record))


def edit(corpus: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """Changes the manifest by hand, and the card and the digest with it."""
    change(corpus, how)
    seal(corpus)


def reseal(corpus: Path, name: str) -> None:
    """Makes the manifest agree with the file as it is now."""
    seal(corpus, name)


def test_a_sound_corpus_has_no_problems(corpus: Path) -> None:
    """What was just written verifies, and does so without work/ and run.json too."""
    assert verify(str(corpus)) == []
    for path in sorted((corpus / "work").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (corpus / "run.json").unlink()
    assert verify(str(corpus)) == []


def test_any_store_can_be_verified(corpus: Path) -> None:
    """A corpus on an object store verifies like one on disk."""
    store = fsspec.filesystem("memory")
    store.put(str(corpus), "/verify-corpus", recursive=True)
    try:
        assert verify("memory://verify-corpus") == []
        store.pipe("/verify-corpus/shards/stray.tar", b"")
        assert verify("memory://verify-corpus") == ["shards/stray.tar: the manifest does not name this file"]
    finally:
        store.rm("/verify-corpus", recursive=True)


@pytest.mark.parametrize("name", [TAR, INDEX, "README.md"])
def test_one_flipped_bit_is_found(corpus: Path, name: str) -> None:
    """A single changed bit anywhere in a file is a problem that names the file."""
    data = (corpus / name).read_bytes()
    for at in (0, len(data) // 2, len(data) - 1):
        flipped = bytearray(data)
        flipped[at] ^= 1
        (corpus / name).write_bytes(flipped)
        assert any(p.startswith(f"{name}: ") and "SHA-256 is" in p for p in verify(str(corpus)))


@pytest.mark.parametrize("name", [TAR, INDEX, "README.md"])
def test_a_missing_or_cut_file_is_found(corpus: Path, name: str) -> None:
    """A file that is shorter than it was, or not there, is named with what differs."""
    data = (corpus / name).read_bytes()
    (corpus / name).write_bytes(data[:-1])
    assert any(
        p.startswith(f"{name}: ") and f"{len(data) - 1:,} bytes, but" in p for p in verify(str(corpus))
    )
    (corpus / name).unlink()
    assert f"{name}: missing" in verify(str(corpus))


@pytest.mark.parametrize(
    "name", ["shards/train/caption/web/00001.tar", "shards/.hidden", "LICENSE", "worker/x", "shards/run.json"]
)
def test_a_stray_is_named(corpus: Path, name: str) -> None:
    """A file that the manifest does not name is reported, except below work/, run.json and hidden names at the top."""
    (corpus / "work/tmp").mkdir()
    (corpus / ".git").mkdir()
    (corpus / ".git/HEAD").write_text("x")
    (corpus / ".gitattributes").write_text("x")
    (corpus / "work/tmp/x.tmp").write_bytes(b"x")
    assert verify(str(corpus)) == []
    (corpus / name).parent.mkdir(exist_ok=True)
    (corpus / name).write_bytes(b"x")
    assert verify(str(corpus)) == [f"{name}: the manifest does not name this file"]


def test_a_funnel_that_does_not_add_up_is_reported(corpus: Path) -> None:
    """One more row kept than there is breaks the sum, and differs from work/decisions."""
    edit(corpus, lambda record: record["funnel"]["web"].update(kept=6))
    problems = verify(str(corpus))
    assert "source web: kept + dropped + quarantined is 11, but there are 10 rows" in problems
    assert "source web: the funnel counts 6 rows kept, work/decisions 5" in problems


def test_decisions_are_counted_again(corpus: Path) -> None:
    """A funnel whose sums come out is still compared, rule by rule, with work/decisions."""
    rules = [{"rule": "script", "dropped": 2, "failed": 2}, {"rule": "phash", "dropped": 2, "failed": 3}]
    edit(corpus, lambda record: record["funnel"]["web"].update(rules=rules, errors={"empty": 1}))
    assert verify(str(corpus)) == [
        "source web: rule script dropped 2 and failed 2 in the funnel, 1 and 1 in work/decisions",
        "source web: rule phash dropped 2 and failed 3 in the funnel, 3 and 3 in work/decisions",
        "source web: the funnel counts 1 rows quarantined as empty, work/decisions 0",
    ]


def test_a_row_lost_from_the_ledger_is_found(corpus: Path) -> None:
    """work/decisions with one row fewer, or of a source that nobody knows, is no longer the funnel."""
    path = corpus / "work/decisions/web/00000.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.slice(1), path)
    assert verify(str(corpus)) == ["source web: the funnel counts 5 rows kept, work/decisions 4"]
    pq.write_table(rows.set_column(0, "source", pa.array(["else"] * 10)), path)
    assert "work/decisions: the funnel knows no source else" in verify(str(corpus))


@pytest.mark.parametrize("column", DECISIONS.names)
def test_one_flipped_bit_of_the_ledger_is_found(corpus: Path, column: str) -> None:
    """No manifest names work/decisions; a bit that flips there is seen all the same, in whichever column."""
    path = corpus / "work/decisions/web/00000.parquet"
    write_tables(Layout(str(corpus), "run"), str(path), DECISIONS, [pq.read_table(path).cast(DECISIONS)])
    assert verify(str(corpus)) == []
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(DECISIONS.names.index(column))
    # the last byte of the chunk is in its data page, behind the dictionary
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data = bytearray(path.read_bytes())
    data[start + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(data)
    assert [problem.split(":")[0] for problem in verify(str(corpus))] == ["work/decisions/web/00000.parquet"]


def test_rows_are_counted_again(corpus: Path) -> None:
    """The rows of a shard as the manifest tells them are compared with the index."""
    edit(corpus, lambda record: record["outputs"][INDEX].update(rows=4))
    assert verify(str(corpus)) == [f"{INDEX}: 5 rows, but the manifest says 4"]
    edit(corpus, lambda record: record["outputs"][TAR].update(rows=4))
    problems = verify(str(corpus))
    assert f"{TAR}: 5 rows in its index, but the manifest says 4" in problems
    assert f"{FOLDER}: 5 samples are counted, its shards hold 4" in problems


def moved(column: str, value: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        if column in rows[2]:
            rows[2][column] = value
        else:
            rows[2]["images"][0][column] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (moved("json_offset", 0), "should start at byte"),
        (moved("json_offset", -1), "should start at byte"),
        (moved("json_size", 2**60), "cannot be followed"),
        (moved("offset", 10**15), "should start at byte"),
        (moved("size", 1), "is not that of"),
        (moved("member", "other.jpg"), "is not that of other.jpg"),
        (moved("sample", "{}"), "is not the sample in its index"),
        (moved("key", "0" * 32), "is not that of"),
        (moved("key", None), "leaves a place open"),
        (moved("offset", None), "leaves a place open"),
        (moved("images", []), "should start at byte"),
        (lambda rows: rows.pop(), "holds more than its index says"),
        (lambda rows: rows.append(rows[-1]), "should start at byte"),
        (lambda rows: rows.reverse(), "should start at byte"),
    ],
)
def test_an_index_that_points_elsewhere_is_found(
    corpus: Path, change: Callable[[list[dict[str, Any]]], object], message: str
) -> None:
    """Even with the right digests, an index must place every member where the tar has it."""
    path = corpus / INDEX
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    reseal(corpus, INDEX)
    assert any(problem.startswith(f"{TAR}: ") and message in problem for problem in verify(str(corpus)))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_broken_index_is_a_problem_not_a_crash(corpus: Path, data: bytes) -> None:
    """An index that is no Parquet, though its digest is right, is reported and the rest goes on."""
    (corpus / INDEX).write_bytes(data)
    reseal(corpus, INDEX)
    problems = verify(str(corpus))
    assert any(problem.startswith(f"{INDEX}: cannot be read as Parquet") for problem in problems)
    assert any(problem.startswith(f"{TAR}: its index cannot be followed") for problem in problems)


def test_a_table_of_other_columns_is_no_index(corpus: Path) -> None:
    """Parquet without the places is reported, by the column that it lacks."""
    pq.write_table(pa.table({"key": ["x"]}), corpus / INDEX)
    pq.write_table(pa.table({"key": ["x"]}), corpus / "work/decisions/web/00000.parquet")
    problems = verify(str(corpus))
    assert any("its index cannot be followed: it has no column sample" in problem for problem in problems)
    assert any("cannot be read as decisions: it has no column source" in problem for problem in problems)


def test_no_manifest_is_one_sentence(tmp_path: Path) -> None:
    """A folder without a manifest, or none at all, is a VerifyError that says so."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(VerifyError, match=r"holds no corpus that can be verified.*does not exist"):
            verify(str(folder))


def test_a_manifest_cannot_point_outside(corpus: Path) -> None:
    """A manifest with a name that leaves the folder is refused before any file is opened."""
    outside = {"size": 1, "sha256": "0" * 64, "rows": None}
    change(corpus, lambda record: record["outputs"].update({"../../etc/passwd": outside}))
    with pytest.raises(VerifyError, match="leaves the corpus"):
        verify(str(corpus))


def test_a_corpus_that_keeps_nothing_verifies(tmp_path: Path) -> None:
    """Shards without a row are sound."""
    build(tmp_path, decisions(dict.fromkeys(range(5), ("dropped", "script"))))
    assert verify(str(tmp_path)) == []


def test_an_edited_manifest_is_not_a_killed_run(corpus: Path) -> None:
    """A manifest that is not that of manifest.sha256 is said once; nobody blames a run that did not end."""
    path = corpus / "manifest.json"
    path.write_text(path.read_text().replace('"demo"', '"other"', 1) + " ")
    found = verify(str(corpus))
    assert any(problem.startswith("manifest.sha256: ") for problem in found)
    assert not any("did not come to its end" in problem for problem in found)


def test_verify_says_how_to_mend(corpus: Path) -> None:
    """A bit that flips under the same time is mended as the last line says."""
    tar = min((corpus / "shards").rglob("*.tar"))
    whole, times = tar.read_bytes(), tar.stat()
    tar.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    os.utime(tar, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = run_inline("verify", corpus)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("to mend: remove the damaged files that are named above")
