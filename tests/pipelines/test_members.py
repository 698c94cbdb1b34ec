"""The ledger of members through a whole build: receipts, manifest, status, verify, and the stop."""

import bz2
import gzip
import io
import json
import lzma
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.audit import status
from pipelines.audit.verify import verify
from pipelines.remarks import notes
from schemas.errors import InputError, VerifyError
from schemas.manifest import load
from tests.pipelines.building import build, rows
from tests.pipelines.raw import add, caption, picture, shard


def strange(path: Path, numbers: range, suffix: str = "jpg_large") -> Path:
    """A tar in which images have a suffix that announces none."""
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            add(tar, f"{number:05d}.{suffix}", picture(number))
    return path


def recipe(folder: Path, **more: Any) -> dict[str, Any]:
    return {"sources": [{"id": "web", "path": str(folder)}], **more}


def test_unused_members_are_told_everywhere(tmp_path: Path) -> None:
    """Log, manifest and status count and name them; the sums hold for verify, and are checked by it."""
    shard(tmp_path / "in" / "00000.tar", range(4))
    strange(tmp_path / "in" / "00001.tar", range(4, 8))
    out = tmp_path / "out"
    results, heard = build(recipe(tmp_path / "in"), out)
    assert results["measure"]["web", "00001"]["members"]["unused"]["no_row"]["images"] == 4
    (said,) = [sentence for sentence in heard.said if "no row uses" in sentence]
    assert "4 of the 16 members" in said
    assert "00001: 00004.jpg_large" in said
    manifest = load((out / "manifest.json").read_bytes())
    members = manifest.members["web"]
    assert (members.members, members.records, members.used, members.unused_images) == (16, 4, 12, 4)
    assert list(notes(manifest.members)) == status.read(str(out)).members == [said]
    assert verify(str(out)) == []
    record = json.loads((out / "manifest.json").read_bytes())
    record["members"]["web"]["metadata"] += 1
    (out / "manifest.json").write_text(json.dumps(record))
    assert any("used + metadata + unused members are 17" in problem for problem in verify(str(out)))
    with pytest.raises(VerifyError, match="its tars have 16"):
        load((out / "manifest.json").read_bytes())


def test_too_many_unused_images_stop_the_source(tmp_path: Path) -> None:
    """Eleven of a hundred stop with a sentence that names one and the remedies; each remedy helps."""
    shard(tmp_path / "in" / "00000.tar", range(6))
    strange(tmp_path / "in" / "00001.tar", range(6, 17))
    with pytest.raises(InputError, match=r"11 of the 17 images.*max_unused 0\.01.*00006\.jpg_large.*columns"):
        build(recipe(tmp_path / "in"), tmp_path / "out")
    results, _ = build(recipe(tmp_path / "in", max_unused=0.7), tmp_path / "out", until="measure")
    assert sum(receipt["rows"] for receipt in results["measure"].values()) == 6
    named = recipe(tmp_path / "in", max_quarantine=1.0)
    named["sources"][0]["columns"] = {"image": ["jpg", "jpg_large"]}
    build(named, tmp_path / "named", until="measure")
    assert sum(row["sha256"] is not None for row in rows(tmp_path / "named", "signals")) == 17


def test_max_unused_changes_no_data(tmp_path: Path) -> None:
    """The setting is a stop, so another value measures and decides nothing again."""
    shard(tmp_path / "in" / "00000.tar", range(4))
    build(recipe(tmp_path / "in"), tmp_path / "out")
    _, heard = build(recipe(tmp_path / "in", max_unused=0.5), tmp_path / "out")
    assert heard.ran == {"measure": 0, "dedup": 0, "select": 0, "compose": 0, "shard": 0, "card": 0}


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_what_a_build_wrote_is_input(tmp_path: Path, form: str) -> None:
    """The folder of a corpus, tars or Parquet, is read again: its samples, and nothing of its work."""
    shard(tmp_path / "in" / "00000.tar", range(6))
    build(recipe(tmp_path / "in", shards={"format": form}), tmp_path / "first")
    results, _ = build(recipe(tmp_path / "first"), tmp_path / "again")
    found = rows(tmp_path / "again", "signals")
    assert sorted(row["caption_raw"] for row in found) == sorted(caption(number) for number in range(6))
    assert [row["error"] for row in found] == [None] * 6
    assert sum(receipt["kept"] for receipt in results["select"].values()) == 6


def test_text_that_a_build_wrote_is_input(tmp_path: Path) -> None:
    """Tars with samples of text alone stand beside those of pairs: no image of theirs is missing."""
    shard(tmp_path / "in" / "00000.tar", range(6))
    text = "The barn stands beside the river, and nobody has painted it since the war."
    (tmp_path / "text.jsonl").write_text(json.dumps({"text": text}) + "\n")
    both = recipe(tmp_path / "in")
    both["sources"].append({"id": "text", "path": str(tmp_path / "text.jsonl"), "kind": "text"})
    build(both, tmp_path / "first")
    build(recipe(tmp_path / "first"), tmp_path / "again")
    found = rows(tmp_path / "again", "signals")
    assert sorted(row["caption_raw"] for row in found) == sorted([*map(caption, range(6)), text])
    assert [row["error"] for row in found] == [None] * 7
    assert [row["decision"] for row in rows(tmp_path / "again", "decisions")] == ["kept"] * 7


def made(path: Path, rng: random.Random, images: list[bytes]) -> int:
    """Writes a tar with names, links and packing of every kind; returns how many members it has."""
    keys = ("a", "d/c", ".h", *rng.choice([("f", "g"), ("b.1", "b.2", "e.x.y")]))
    suffixes = ("jpg", "jpg", "PNG", "0.jpg", "1.jpg", "seg.png", "txt", "json", "cls", "jpg_large", "")
    raw = io.BytesIO()
    names: list[str] = []
    with tarfile.open(
        fileobj=raw, mode="w", format=rng.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    ) as tar:
        for _ in range(rng.randrange(12)):
            name = f"{rng.choice(keys)}.{rng.choice(suffixes)}".rstrip(".")
            if names and rng.random() < 0.15:
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.LNKTYPE, rng.choice([*names, "nowhere.jpg"])
                tar.addfile(link)
            else:
                add(tar, name, rng.choice([b"{}", b"", b"a caption", rng.choice(images)]))
            names.append(name)
        if rng.random() < 0.3:  # a photograph with its mask
            for name in ("m.jpg", "m.seg.png", "m.txt"):
                add(tar, name, rng.choice(images))
                names.append(name)
    path.write_bytes(PACKED[path.name.rpartition(".")[2]](raw.getvalue()))
    return len(names)


def zstandard(data: bytes) -> bytes:
    """Returns the data as one Zstandard frame."""
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard,
}


def test_verify_adds_up_the_members_of_a_hundred_tars(tmp_path: Path) -> None:
    """Of tars with names, links and packing of every kind the manifest counts each member that was written."""
    rng = random.Random(18)
    images = [picture(number, (32, 32)) for number in range(20)]
    (tmp_path / "in").mkdir()
    forms = [*["tar"] * 6, "tar.gz", "tar.bz2", "tar.xz", "tar.zst"]
    listed = sum(
        made(tmp_path / "in" / f"{number:05d}.{forms[number % 10]}", rng, images) for number in range(100)
    )
    build(recipe(tmp_path / "in", max_quarantine=1.0, max_unused=1.0), tmp_path / "out")
    members = load((tmp_path / "out" / "manifest.json").read_bytes()).members["web"]
    unused = sum(one.members for one in members.unused.values())
    assert members.members == listed == members.used + members.metadata + unused
    assert members.last_dot > 0
    assert {"hidden", "no_row", "other_image"} <= members.unused.keys()
    assert verify(str(tmp_path / "out")) == []


def test_verify_adds_up_the_members_of_real_tars(tmp_path: Path, test_data: Path) -> None:
    """Of published tars, several writers' and some packed, every member that tarfile lists is counted."""
    (tmp_path / "in").mkdir()
    listed = 0
    for folder in (
        "formats/webdataset",
        "cases/dots",
        "cases/multi",
        "cases/hard",
        "cases/norow",
        "cases/packed",
    ):
        for path in sorted((test_data / folder).glob("*.tar*")):
            if path.name.endswith(".zst"):
                continue
            shutil.copy(path, tmp_path / "in" / f"{folder.rpartition('/')[2]}-{path.name}")
            with tarfile.open(path) as tar:
                listed += sum(not one.isdir() for one in tar)
    build(recipe(tmp_path / "in", max_quarantine=1.0, max_unused=1.0), tmp_path / "out")
    members = load((tmp_path / "out" / "manifest.json").read_bytes()).members["web"]
    unused = sum(one.members for one in members.unused.values())
    assert members.members == listed == members.used + members.metadata + unused
    assert verify(str(tmp_path / "out")) == []
