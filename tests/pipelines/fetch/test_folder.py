"""A folder of raw shards keeps its images where a run was given the wrong list, and says which images go."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import InputError
from tests.pipelines.fetch.fetching import fetch, shards, write_list
from tests.pipelines.fetch.hostile import Server

SHAPE: dict[str, Any] = {"shard_rows": 4, "task_shards": 1}


def _urls(server: Server, *numbers: int) -> list[str | None]:
    return [server.url(f"/img/{number}") for number in numbers]


@pytest.mark.parametrize(
    "urls",
    [
        pa.nulls(9, pa.string()),
        pa.array(["", " ", "\t", *[""] * 6]),
        pa.array([["http://a.test/"]] * 9),
    ],
    ids=["null", "blank", "lists"],
)
def test_a_list_without_a_url_costs_no_image(server: Server, tmp_path: Path, urls: pa.Array) -> None:
    """A list whose column of URLs was lost by mistake is refused before a raw shard is touched."""
    listed = write_list(tmp_path / "list.parquet", _urls(server, *range(9)))
    fetch(tmp_path / "raw", listed, **SHAPE)
    before = shards(tmp_path / "raw")
    pq.write_table(pa.table({"url": urls, "caption": ["a boat"] * 9}), listed)
    with pytest.raises(InputError, match=r"none of the 9 rows of its lists has a URL"):
        fetch(tmp_path / "raw", listed, **SHAPE)
    assert shards(tmp_path / "raw") == before
    write_list(tmp_path / "list.parquet", _urls(server, *range(9)))
    server.asked.clear()
    fetch(tmp_path / "raw", listed, **SHAPE)
    assert not server.asked


def test_another_list_is_not_fetched_into_the_folder_of_the_first(server: Server, tmp_path: Path) -> None:
    """A new list alone is refused, though it shares some URLs; with the first it is fetched, and the first stays."""
    first = write_list(tmp_path / "may.parquet", _urls(server, *range(9)))
    second = write_list(tmp_path / "june.parquet", _urls(server, *range(6, 15)))
    fetch(tmp_path / "raw", first, **SHAPE)
    before = shards(tmp_path / "raw")
    server.asked.clear()
    with pytest.raises(
        InputError, match=r"raw holds the images of other lists \(may\), which would be removed"
    ):
        fetch(tmp_path / "raw", second, **SHAPE)
    assert shards(tmp_path / "raw") == before
    assert not server.asked
    fetch(tmp_path / "raw", [first, second], **SHAPE)
    assert before.items() <= shards(tmp_path / "raw").items()


def test_images_that_go_are_counted(server: Server, tmp_path: Path) -> None:
    """A list that is given no more takes its images along, and one that got shorter; one that was renamed, none."""
    first = write_list(tmp_path / "may.parquet", _urls(server, *range(9)))
    second = write_list(tmp_path / "june.parquet", _urls(server, 8, *range(20, 30)))
    fetch(tmp_path / "raw", [first, second], **SHAPE)
    fetch(tmp_path / "raw", second, **SHAPE)
    assert "no rows for 3 raw shards any more, which go with 8 images of URLs that no list has" in _said(
        tmp_path
    )
    write_list(tmp_path / "june.parquet", _urls(server, 8, *range(20, 23)))
    fetch(tmp_path / "raw", second, **SHAPE)
    assert "no rows for 2 raw shards any more, which go with 7 images" in _said(tmp_path)
    renamed = str(Path(second).rename(tmp_path / "summer.parquet"))
    fetch(tmp_path / "raw", renamed, **SHAPE)
    assert "any more" not in _said(tmp_path)
    assert sorted(shards(tmp_path / "raw")) == ["status/summer-00000.parquet", "summer-00000.tar"]


def _said(folder: Path) -> str:
    return max((folder / "raw/work/log").glob("*.jsonl")).read_text()
