"""The demo crawl and what is planted in it."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from synth import content, crawl
from synth.crawl import Slot, plan, row, write_crawl
from synth.defects import DEFECTS, TWINS, Row
from synth.truth import read_truth

SEED = 5


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crawl of 120 rows in three shards, written by one process."""
    out = tmp_path_factory.mktemp("crawl")
    write_crawl(out, 120, SEED, per_shard=45, workers=1)
    return out


def _members(written: Path) -> dict[str, dict[str, bytes]]:
    """Each row's members by suffix."""
    rows: dict[str, dict[str, bytes]] = {}
    for path in sorted((written / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                key, suffix = info.name.split(".", 1)
                body = tar.extractfile(info)
                assert body is not None
                rows.setdefault(key, {})[suffix] = body.read()
    return rows


def test_the_same_arguments_give_the_same_bytes(written: Path, tmp_path: Path) -> None:
    """Two processes in another folder write what one process wrote, and leave no other file behind."""
    write_crawl(tmp_path / "again", 120, SEED, per_shard=45, workers=2)
    assert _digests(tmp_path / "again") == _digests(written)
    assert set(_digests(written)) == {"truth.jsonl"} | {
        f"shards/0000{i}.{suffix}" for i in range(3) for suffix in ("tar", "parquet")
    }


def test_another_seed_gives_another_crawl() -> None:
    """The seed decides both the plan and the pictures."""
    assert plan(200, 1, 50) != plan(200, 2, 50)
    assert row(1, Slot(3, "none")).data != row(2, Slot(3, "none")).data


def test_shards_follow_img2datasets_convention(written: Path) -> None:
    """Keys are shard and row number; JSON and Parquet agree; text is what the truth speaks of."""
    members = _members(written)
    assert len(members) == 120
    tables = [pq.read_table(path).to_pylist() for path in sorted((written / "shards").glob("*.parquet"))]
    for meta in (line for table in tables for line in table):
        parts = members[meta["key"]]
        assert json.loads(parts["json"]) == meta
        (image,) = (body for suffix, body in parts.items() if suffix in ("jpg", "png", "webp"))
        assert meta["sha256"] == hashlib.sha256(image).hexdigest()
        assert (meta["caption"] or "") == parts.get("txt", b"").decode()
        assert meta["key"][:5] in ("00000", "00001", "00002")


def test_the_truth_covers_every_row_and_lies_apart(written: Path) -> None:
    """Every row has its line of truth, and no shard mentions what was planted."""
    truth = read_truth(written / "truth.jsonl")
    members = _members(written)
    assert [line["member"] for line in truth] == sorted(members)
    assert {line["planted"] for line in truth} == set(DEFECTS)
    assert not any(b"planted" in parts["json"] for parts in members.values())


def test_a_smaller_crawl_leaves_no_stale_shard(tmp_path: Path) -> None:
    """Shards of an earlier, larger crawl in the same folder go; files that are not shards stay."""
    write_crawl(tmp_path, 6, SEED, per_shard=2, workers=1)
    (tmp_path / "shards" / "notes.txt").write_text("mine")
    write_crawl(tmp_path, 3, SEED, per_shard=2, workers=1)
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [
        "00000.parquet", "00000.tar", "00001.parquet", "00001.tar", "notes.txt",
    ]  # fmt: skip


@pytest.mark.parametrize(("n", "per_shard"), [(0, 10), (10, 0), (10, 10_001)])
def test_senseless_sizes_are_refused(tmp_path: Path, n: int, per_shard: int) -> None:
    """A crawl without rows, or shards without rows or with more than keys can number, is an error."""
    with pytest.raises(ValueError, match=r"row|per_shard"):
        write_crawl(tmp_path, n, SEED, per_shard)


def test_the_plan_keeps_its_shares() -> None:
    """Each defect has its share; twins have a sound row of their own, repeats one in another shard."""
    slots = plan(2000, SEED, 250)
    for kind, verdict in DEFECTS.items():
        if kind != "none":
            assert sum(slot.planted == kind for slot in slots) == verdict.weight * 2
    others = [slot.of for slot in slots if slot.of is not None]
    assert len(others) == len(set(others))
    for slot in slots:
        assert (slot.of is not None) == (slot.planted in TWINS)
        if slot.of is not None:
            assert slots[slot.of].planted == "none"
            assert slot.planted != "repeat" or slot.of // 250 != slot.index // 250


def test_few_enough_rows_are_broken_for_the_default_ceiling() -> None:
    """Rows that quarantine stay below the 5 % at which a build stops, in small crawls too."""
    for n in (100, 150, 400, 2000):
        broken = sum(DEFECTS[slot.planted].error is not None for slot in plan(n, SEED, 250))
        assert broken / n < 0.05


def _rows(kind: str, count: int = 12) -> list[Row]:
    return [row(SEED, Slot(i, kind, 1000 + i if kind in TWINS else None)) for i in range(count)]


def _open(made: Row) -> Image.Image:
    return Image.open(io.BytesIO(made.data))


def test_sound_rows_are_sound() -> None:
    """Without a defect both sides have 256-640 pixels, and the caption 10-250 characters."""
    for made in _rows("none", 60):
        image = _open(made)
        image.load()
        assert min(image.size) >= 256
        assert max(image.size) <= 640
        assert 10 <= len(made.caption or "") <= 250
        assert image.format == {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[made.form]


def test_pictures_of_the_wrong_shape_and_size() -> None:
    """`aspect` is longer than 3.3 to 1, `small` has a side below 200 pixels and is no strip."""
    for made in _rows("aspect"):
        assert max(_open(made).size) > 3.3 * min(_open(made).size)
    for made in _rows("small"):
        assert min(_open(made).size) < 200
        assert max(_open(made).size) < 2 * min(_open(made).size)


def test_blank_pictures_show_one_colour() -> None:
    """However it is compressed, a blank picture has no more than a step or two of grey."""
    for made in _rows("blank"):
        assert np.ptp(np.asarray(_open(made).convert("L"), int)) <= 2


def test_broken_pictures_break() -> None:
    """Each kind of broken row fails to load in its own way."""
    for made in _rows("truncated"):
        with pytest.raises(OSError, match="truncated"):
            _open(made).load()
    for made in _rows("not_image"):
        with pytest.raises(OSError, match="cannot identify"):
            _open(made)
    for made in _rows("bomb"):
        with pytest.raises(Image.DecompressionBombError):
            _open(made)
        assert len(made.data) < 10_000
    assert all(made.data == b"" for made in _rows("empty"))


def test_turned_pictures_stand_upright_once_turned() -> None:
    """Stored turned, with the EXIF tag that turns the picture to what its scene shows."""
    for made in _rows("turned"):
        image = _open(made)
        assert image.getexif()[0x0112] in range(2, 9)
        upright = np.asarray(ImageOps.exif_transpose(image), float)
        assert upright.shape[:2] == made.content.size[::-1]
        assert np.abs(upright - np.asarray(content.picture(made.content), float)).mean() < 8


def test_wrong_encodings_can_be_mended() -> None:
    """Mojibake is not the caption, and ftfy brings the caption back to the letter."""
    for made in _rows("mojibake", 30):
        assert made.caption != made.clean_caption
        fixed = ftfy.fix_text(
            made.caption or "", fix_character_width=False, uncurl_quotes=False, fix_latin_ligatures=False
        )
        assert fixed == made.clean_caption


def test_twins_are_what_they_say() -> None:
    """Exact twins share bytes, pixel twins pixels only, repeats all, translations the picture only."""
    for kind in ("exact_dup", "pixels_dup", "repeat", "translation", "near_dup"):
        for i, twin in enumerate(_rows(kind, 6)):
            first = row(SEED, Slot(1000 + i, "none"))
            same = _open(twin).convert("RGB").tobytes() == _open(first).convert("RGB").tobytes()
            assert same == (kind != "near_dup")
            assert (twin.data == first.data) == (kind in ("exact_dup", "repeat", "translation"))
            assert (twin.url == first.url) == (kind == "repeat")
            assert (twin.language == first.language) == (kind != "translation")
            assert min(_open(twin).size) >= 200


def test_planted_captions() -> None:
    """Every defect of a caption is in the caption."""
    assert all(len(made.caption or "") in (1, 2) for made in _rows("short"))
    assert all(len(made.caption or "") > 1000 for made in _rows("long"))
    assert all("<PERSON>" in (made.caption or "") for made in _rows("special_tag"))
    assert all("<" in (made.caption or "") for made in _rows("html"))
    assert all(made.language not in ("en", "zh") for made in _rows("language"))
    assert {made.caption for made in _rows("no_caption")} == {None, ""}


def test_a_caption_of_another_picture_shares_no_shape_with_this_one() -> None:
    """A mismatch is one: nothing that its caption names is in the picture."""
    for made in _rows("mismatch", 40):
        named = content._named(made.content)
        assert not any(
            f" {name}" in f" {(made.caption or '').lower()}" for name in named if made.language == "en"
        )


def test_shards_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crawl that dies half-way leaves no shard and no truth under their final names."""

    def fails(*args: Any) -> Row:
        raise OSError("no space left on device")

    monkeypatch.setattr(crawl, "row", fails)
    with pytest.raises(OSError, match="no space"):
        write_crawl(tmp_path, 5, SEED, workers=1)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(".")]
