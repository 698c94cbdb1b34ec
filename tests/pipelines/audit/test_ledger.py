import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.audit.ledger import ledger
from pipelines.audit.verify import verify
from schemas.errors import VerifyError
from tests.pipelines.building import build
from tests.pipelines.crawls import demo

RECIPE = {"languages": ["en", "zh"], "rules": {"clip": False}}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledger")
    shards = demo(folder / "crawl", 90, 30)
    build({**RECIPE, "sources": [{"id": "web", "path": str(shards)}]}, folder / "corpus")
    return folder / "corpus"


@pytest.fixture
def corpus(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "corpus"))


def changed(kind: str, how: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Writes the first table of a kind anew."""

    def change(corpus: Path) -> None:
        path = first(corpus, kind)
        pq.write_table(how(pq.read_table(path)), path, write_page_checksum=True)

    return change


def first(corpus: Path, kind: str) -> Path:
    return min((corpus / "work" / kind).rglob("*.parquet"))


def replaced(table: pa.Table, column: str, values: object) -> pa.Table:
    at = table.column_names.index(column)
    return table.set_column(at, table.schema.field(column), values)


def swapped(corpus: Path, kind: str) -> None:
    one, other, *_ = sorted((corpus / "work" / kind).rglob("*.parquet"))
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def flipped(corpus: Path, kind: str) -> None:
    path = first(corpus, kind)
    place = pq.ParquetFile(path).metadata.row_group(0).column(0)
    data = bytearray(path.read_bytes())
    data[(place.dictionary_page_offset or place.data_page_offset) + place.total_compressed_size - 1] ^= 1
    path.write_bytes(data)


def emptied(corpus: Path) -> None:
    min((corpus / "work/receipts/measure").rglob("*.jsonl")).write_bytes(b"")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "rows taken out of signals": (
        changed("signals", lambda table: table.slice(5)),
        "bytes instead of",
    ),
    "signals of another shard": (lambda corpus: swapped(corpus, "signals"), "holds rows of shard"),
    "a bit of signals": (lambda corpus: flipped(corpus, "signals"), "cannot be read"),
    "signals removed": (
        lambda corpus: first(corpus, "signals").unlink(),
        "work/signals/web/00000.parquet: missing",
    ),
    "keys of signals": (
        changed("signals", lambda table: replaced(table, "key", pc.utf8_reverse(table["key"]))),
        "have another key than in the signals",
    ),
    "errors of signals": (
        changed("signals", lambda table: replaced(table, "error", pa.array(["truncated"] * len(table)))),
        "are quarantined without an error",
    ),
    "rows taken out of decisions": (changed("decisions", lambda table: table.slice(5)), "not one a row"),
    "a decision twice": (
        changed("decisions", lambda table: pa.concat_tables([table, table.slice(0, 1)])),
        "31 decisions on 30 rows",
    ),
    "decisions of another shard": (lambda corpus: swapped(corpus, "decisions"), "holds rows of shard"),
    "decisions emptied": (lambda corpus: first(corpus, "decisions").write_bytes(b""), "cannot be read"),
    "reasons of drops": (
        changed(
            "decisions",
            lambda table: replaced(
                table,
                "reason",
                pc.if_else(pc.equal(table["decision"], "dropped"), "no_rule", table["reason"]),
            ),
        ),
        "are dropped for no rule that failed",
    ),
    "all kept": (
        changed("decisions", lambda table: replaced(table, "decision", pa.array(["kept"] * len(table)))),
        "are kept with a reason",
    ),
    "rows taken out of clusters": (
        changed("clusters", lambda table: table.slice(0, 1)),
        "rows of it are missing",
    ),
    "clusters of another shard": (lambda corpus: swapped(corpus, "clusters"), "holds rows of shard"),
    "a bit of clusters": (lambda corpus: flipped(corpus, "clusters"), "cannot be read"),
    "a receipt emptied": (emptied, "it holds no receipts"),
}


def test_work_of_a_sound_corpus_has_no_problems(built: Path) -> None:
    """What a build leaves below work/ goes with itself."""
    assert ledger(str(built)) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_below_work_is_found(corpus: Path, damage: str) -> None:
    """Whatever is lost, swapped or changed in a table or receipt contradicts the rest, or cannot be read."""
    how, sentence = DAMAGES[damage]
    how(corpus)
    found = ledger(str(corpus))
    assert any(sentence in problem for problem in found), found


def test_a_corpus_without_work_cannot_be_checked_so(tmp_path: Path) -> None:
    """Where work/ was removed, one sentence says that there is nothing to check."""
    with pytest.raises(VerifyError, match="was removed"):
        ledger(str(tmp_path))


def test_each_damaged_file_is_named_once(corpus: Path) -> None:
    """Whatever several checks say of one file stands on one line."""
    tar = min((corpus / "shards").rglob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:3000])
    (corpus / "README.md").unlink()
    min((corpus / "work" / "signals").rglob("*.parquet")).unlink()
    decisions = min((corpus / "work" / "decisions").rglob("*.parquet"))
    decisions.write_bytes(decisions.read_bytes()[:200])
    names = [problem.partition(": ")[0] for problem in verify(str(corpus), work=True)]
    damaged = [path.relative_to(corpus).as_posix() for path in (tar, decisions)]
    assert {*damaged, "README.md"} <= {*names}
    assert len(names) == len({*names})
