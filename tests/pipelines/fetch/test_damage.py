"""Raw shards that are damaged or lost are fetched again, in a corpus's work/ or in a folder of their own."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vlcorpus
from pipelines.fetch.raw import STATUS, Images, Raw
from pipelines.layout import Layout
from pipelines.progress import Reporter
from pipelines.recipe.load import for_lists
from pipelines.recipe.model import Recipe
from pipelines.runs import Options, run
from tests.pipelines.fetch.fetching import QUICK, fetch, shards, write_list
from tests.pipelines.fetch.hostile import Server

SHAPE: dict[str, Any] = {**QUICK, "shard_rows": 4}


class _Told(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def _alone(folder: Path, listed: str) -> tuple[Recipe, Path]:
    return for_lists([listed], str(folder / "raw"), SHAPE), folder / "raw"


def _beside(folder: Path, listed: str) -> tuple[Recipe, Path]:
    fetched = {**SHAPE, "raw": str(folder / "raw")}
    source = {"id": "web", "kind": "urls", "path": listed, "captions": "none", "fetch": fetched}
    return Recipe.model_validate({"sources": [source], "out": str(folder / "corpus")}), folder / "raw"


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


TAR, STATUSES = "l-00001.tar", "status/l-00001.parquet"


@pytest.mark.parametrize("shared", [False, True], ids=["own URLs", "the same URLs"])
def test_lists_of_one_name_in_several_sources(server: Server, tmp_path: Path, shared: bool) -> None:
    """Each source keeps what it wrote: work/ is sound, and the next run finds nothing to make again."""
    sources: list[dict[str, Any]] = []
    for at, name in enumerate(("one", "two", "three")):
        urls = [server.url(f"/img/{number + (0 if shared else 20 * at)}") for number in (*range(9), 0, 5, 8)]
        listed = write_list(tmp_path / name / "part.parquet", urls[at:])
        fetched = {**SHAPE, "task_shards": 1}
        sources.append({"id": name, "kind": "urls", "path": listed, "captions": "none", "fetch": fetched})
    recipe = Recipe.model_validate(
        {"sources": sources, "out": str(tmp_path / "corpus"), "rules": {"phash": False}}
    )
    for _ in range(2):
        told = _Told()
        run(recipe, "card", Options("inline"), told)
        assert vlcorpus.Corpus.open(tmp_path / "corpus").verify(work=True) == []
        assert not [sentence for sentence in told.said if "made again" in sentence]


DEEDS: tuple[tuple[str, Callable[[Path], None]], ...] = (
    *((TAR, deed) for deed in (_flip, _cut, Path.unlink)),
    *((STATUSES, deed) for deed in (_cut, Path.unlink)),
)


@pytest.mark.parametrize("made", [_alone, _beside], ids=["a fetch alone", "beside a corpus"])
def test_a_shard_that_is_damaged_or_lost_is_fetched_again(
    server: Server, tmp_path: Path, made: Callable[[Path, str], tuple[Recipe, Path]]
) -> None:
    """It alone, whichever of its two files it is, with a sentence that names it."""
    urls = [server.url(f"/img/{number}") for number in range(12)]
    recipe, folder = made(tmp_path, write_list(tmp_path / "l.parquet", urls))
    run(recipe, "fetch", Options("inline"), Reporter())
    whole = shards(folder)
    for name, deed in DEEDS:
        server.asked.clear()
        deed(folder / name)
        told = _Told()
        run(recipe, "fetch", Options("inline"), told)
        assert shards(folder) == whole
        asked = {path for path in server.asked if path.startswith("/img/")}
        assert asked == {f"/img/{number}" for number in range(4, 8)}
        assert [one for one in told.said if "l-00001" in one and "it is made again" in one]
        if deed is Path.unlink:
            what = "l-00001.tar is missing" if name == TAR else "status/"
            assert [one for one in told.said if what in one], (
                "the file that is lost is named, not the other one"
            )
    server.asked.clear()
    run(recipe, "fetch", Options("inline"), Reporter())
    assert not server.asked


def test_what_a_person_took_out_of_their_folder_is_no_damage(server: Server, tmp_path: Path) -> None:
    """A row without its URL and its image stays so, and nothing is asked for again."""
    urls = [server.url(f"/img/{number}") for number in range(8)]
    recipe, folder = _beside(tmp_path, write_list(tmp_path / "l.parquet", urls))
    run(recipe, "fetch", Options("inline"), Reporter())
    status, tar = folder / STATUSES, folder / TAR
    table = pq.ParquetFile(status).read()
    rows = table.to_pylist()
    data = bytearray(tar.read_bytes())
    first = rows[0]
    data[first["offset"] : first["offset"] + first["size"]] = bytes(first["size"])
    rows[0] |= {"url": None, "caption": None, "final_url": None}
    tar.write_bytes(data)
    pq.write_table(pa.Table.from_pylist(rows, STATUS).cast(table.schema), status)
    taken_out = shards(folder)
    server.asked.clear()
    run(recipe, "fetch", Options("inline"), Reporter())
    assert shards(folder) == taken_out
    assert not server.asked


def _zero(path: Path) -> None:
    row = pq.ParquetFile(path.parent / "status" / f"{path.stem}.parquet").read().to_pylist()[2]
    data = bytearray(path.read_bytes())
    data[row["offset"] + 20 : row["offset"] + 40] = bytes(20)
    path.write_bytes(data)


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _take_out(path: Path) -> None:
    kept = io.BytesIO()
    with tarfile.open(path) as tar, tarfile.open(fileobj=kept, mode="w") as other:
        for member in tar.getmembers()[3:]:
            other.addfile(member, tar.extractfile(member))
    path.write_bytes(kept.getvalue())


def _append(path: Path, urls: list[str]) -> Path:
    return Path(write_list(path, [*urls, urls[0] + "99"]))


def _put_in_front(path: Path, urls: list[str]) -> Path:
    return Path(write_list(path, [urls[0] + "99", *urls]))


def _rename(path: Path, urls: list[str]) -> Path:
    return path.rename(path.with_name("m.parquet"))


@pytest.mark.parametrize("deed", [_zero, _halve, _take_out])
@pytest.mark.parametrize("change", [_append, _put_in_front, _rename])
@pytest.mark.parametrize("again", [False, True], ids=["", "retried"])
def test_a_shard_that_is_damaged_while_its_list_changes(
    server: Server,
    tmp_path: Path,
    deed: Callable[[Path], None],
    change: Callable[[Path, list[str]], Path],
    again: bool,
) -> None:
    """No damaged image is taken over: its URL is asked for again, and all is as if fetched at once."""
    urls = [server.url(f"/img/{number}") for number in range(12)]
    listed = Path(write_list(tmp_path / "l.parquet", urls))
    shape: dict[str, Any] = {"shard_rows": 4, "task_shards": 4}
    raw = tmp_path / "raw"
    fetch(raw, str(listed), **shape)
    deed(raw / TAR)
    server.asked.clear()
    listed = change(listed, urls)
    fetch(raw, str(listed), again=again, **shape)
    asked = {path for path in server.asked if path.startswith("/img/")}
    assert {"/img/6"} <= asked <= {"/img/099", *(f"/img/{number}" for number in range(4, 8))}
    fetch(tmp_path / "at-once", str(listed), **shape)
    assert shards(raw) == shards(tmp_path / "at-once")


def test_a_row_that_was_taken_out_of_a_tar_that_is_cut_off(tmp_path: Path) -> None:
    """Its place reads as zeros, so it stays out; an image that is cut off is none."""
    (tmp_path / "l.tar").write_bytes(b"x" * 600)
    images = Images(Raw(Layout(str(tmp_path)), str(tmp_path)), "l")
    facts = {
        "offset": 512,
        "size": 100,
        "sha256": hashlib.sha256(b"x" * 100).hexdigest(),
        "stored_sha256": None,
    }
    assert images.read({**facts, "url": None}) == b"x" * 88 + bytes(12)
    assert images.read({**facts, "url": "http://a.test/"}) is None
    assert images.read({**facts, "url": "http://a.test/", "offset": 500}) == b"x" * 100
    images.close()
