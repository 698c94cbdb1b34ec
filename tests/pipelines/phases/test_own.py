"""What a row says of where it comes from reaches its views, its images and the index."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pixels

import vlcorpus
from tests.pipelines.building import build, rows
from tests.pipelines.raw import OFF, add, picture

RECORDS: list[dict[str, Any]] = [
    {
        "text": f"a caption with number {n}",
        "link": f"https://a.example/{n}.jpg",
        "uid": f"row-{n}",
        "score": n / 2,
    }
    | ({"rights": "CC BY 2.0"} if n == 1 else {})
    for n in range(3)
]


def in_tar(folder: Path) -> None:
    with tarfile.open(folder / "a.tar", "w") as file:
        for n, record in enumerate(RECORDS):
            add(file, f"{n}.jpg", picture(n))
            add(file, f"{n}.json", json.dumps(record).encode())


def in_parquet(folder: Path) -> None:
    records = [{"rights": None, **record, "jpg": picture(n)} for n, record in enumerate(RECORDS)]
    pq.write_table(pa.Table.from_pylist(records), folder / "a.parquet")


def in_table(folder: Path) -> None:
    lines = [json.dumps(record | {"image": f"{n}.jpg"}) + "\n" for n, record in enumerate(RECORDS)]
    (folder / "a.jsonl").write_text("".join(lines))
    for n in range(len(RECORDS)):
        (folder / f"{n}.jpg").write_bytes(picture(n))


COLUMNS = {"caption": "text", "url": "link", "id": "uid", "licence": "rights", "extra": ["score"]}


def recipe(folder: Path, **more: Any) -> dict[str, Any]:
    source = {"id": "web", "path": str(folder), "columns": COLUMNS, "licence": "unknown"}
    return {"sources": [source], "rules": OFF, **more}


@pytest.mark.parametrize("write", [in_tar, in_parquet, in_table])
def test_columns_reach_views_and_images(tmp_path: Path, write: Any) -> None:
    """Id, licence and further fields stand in the view, the address at the image; the source's licence where a row
    has none.
    """
    (tmp_path / "in").mkdir()
    write(tmp_path / "in")
    build(recipe(tmp_path / "in"), tmp_path / "out")
    corpus = vlcorpus.Corpus.open(tmp_path / "out")
    found = {one.sample.images[0].url: one.sample for one in corpus.samples()}
    assert {url: (view.id, view.licence, view.extra) for url, one in found.items() for view in one.views} == {
        f"https://a.example/{n}.jpg": (
            f"row-{n}",
            "CC BY 2.0" if n == 1 else "unknown",
            json.dumps({"score": n / 2}),
        )
        for n in range(3)
    }
    assert corpus.manifest.licences == {"web": {"CC BY 2.0": 1, "unknown": 2}}
    (index,) = (tmp_path / "out").glob("shards/train/caption/web/*.parquet")
    assert {(row["id"], row["licence"], row["url"]) for row in pq.read_table(index).to_pylist()} == {
        (view.id, view.licence, url) for url, one in found.items() for view in one.views
    }


def test_a_list_of_removed_rows_names_them_by_id(tmp_path: Path) -> None:
    """`columns.id` is what a list's column id goes by."""
    (tmp_path / "in").mkdir()
    in_tar(tmp_path / "in")
    (tmp_path / "list.txt").write_text("id\nrow-2\n")
    corpus = vlcorpus.build(
        recipe(tmp_path / "in"),
        tmp_path / "out",
        "inline",
        progress=False,
        removed=str(tmp_path / "list.txt"),
    )
    assert {view.id for one in corpus.samples() for view in one.sample.views} == {"row-0", "row-1"}


def test_signals_have_no_further_columns(tmp_path: Path) -> None:
    """What the recipe names stands among the further fields, so the columns of signals are those of any corpus."""
    (tmp_path / "in").mkdir()
    in_tar(tmp_path / "in")
    build(recipe(tmp_path / "in"), tmp_path / "out")
    extras = [json.loads(row["extra"]) for row in rows(tmp_path / "out", "signals")]
    assert extras[1] == {"id": "row-1", "licence": "CC BY 2.0", "score": 0.5}
    assert "licence" not in extras[0]


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A column for the id that the file lacks stops the build, as one for the caption does."""
    (tmp_path / "in").mkdir()
    in_parquet(tmp_path / "in")
    wanted = recipe(tmp_path / "in")
    wanted["sources"][0]["columns"] = COLUMNS | {"id": "number"}
    with pytest.raises(vlcorpus.Error, match="no column 'number' for the id"):
        build(wanted, tmp_path / "out")


def test_the_digest_of_the_source_survives_a_turn_and_a_resize(tmp_path: Path) -> None:
    """`original_sha256` is that of the bytes as they came; views of a resized image have moved regions."""
    import hashlib

    out = io.BytesIO()
    image = Pixels.open(io.BytesIO(picture(0)))
    exif = Pixels.Exif()
    exif[0x0112] = 6
    image.save(out, "JPEG", exif=exif)
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "a.tar", "w") as file:
        add(file, "0.jpg", out.getvalue())
        add(file, "0.txt", b"a caption with words")
    source = {"id": "web", "path": str(tmp_path / "in")}
    for resize in (None, {"max_side": 64}):
        build({"sources": [source], "rules": OFF, "resize": resize}, tmp_path / "out")
        (one,) = vlcorpus.Corpus.open(tmp_path / "out").samples()
        (stored,) = one.sample.images
        assert stored.original_sha256 == hashlib.sha256(out.getvalue()).hexdigest()
        assert stored.sha256 == hashlib.sha256(one.images[0]).hexdigest() != stored.original_sha256
        assert max(stored.width, stored.height) == (64 if resize else 256)
