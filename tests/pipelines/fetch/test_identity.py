"""Whether a URL still gives the image that it gave: same, altered or replaced; images made smaller on arrival."""

import hashlib
import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.fetch.identity import perceptual_hash
from pipelines.recipe.load import for_lists
from pipelines.runs import Options, run
from tests.pipelines.building import Heard
from tests.pipelines.fetch.fetching import QUICK, Row, fetch, statuses, write_list
from tests.pipelines.fetch.hostile import HOST, Server, image


def _smaller(data: bytes, share: float, quality: int) -> bytes:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
    out = io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=quality)
    return out.getvalue()


def test_hashes_of_the_list(server: Server, tmp_path: Path) -> None:
    """SHA-256, MD5 and a perceptual hash that a list brings are what an image is held against."""
    data, other = image(1), image(2)
    hashes = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "phash": f"{perceptual_hash(data, 'JPEG', 10**8):016x}",
    }
    server.files = {"/same": data, "/again": _smaller(data, 0.5, 60), "/other": other}
    cases = [("/same", ("sha256",), "same"), ("/same", ("md5",), "same"), ("/same", ("phash",), "same")]
    cases += [
        ("/again", ("sha256",), "unknown"),
        ("/again", ("sha256", "phash"), "altered"),
        ("/other", ("phash",), "replaced"),
    ]
    rows: list[Row | str | None] = [
        {
            "url": server.url(path),
            "caption": "x",
            **{name: hashes[name] if name in names else None for name in hashes},
        }
        for path, names, _ in cases
    ]
    for number, (row, (_, _, expected)) in enumerate(zip(rows, cases, strict=True)):
        (found,) = fetch(tmp_path / str(number), write_list(tmp_path / f"{number}.parquet", [row]))
        verdict = "replaced" if found["status"] == "replaced" else found["verdict"]
        assert verdict == expected, (number, found)


def _fetched_again(
    server: Server, folder: Path, before: dict[str, bytes], after: dict[str, bytes]
) -> dict[str, Row]:
    """Fetches files twice, the second time as they are then; returns the second's statuses by path."""
    listed = write_list(folder / "list.parquet", [server.url(path) for path in before])
    server.files = before
    fetch(folder / "first", listed)
    server.files = after
    fetch(folder / "second", listed, earlier=str(folder / "first"))
    return {row["url"].removeprefix(server.url("")): row for row in statuses(folder / "second")}


def test_an_earlier_fetch(server: Server, tmp_path: Path) -> None:
    """An image is held against what an earlier fetch of the list got, and a replaced one is no part of the shard."""
    before = {f"/{name}": image(number) for number, name in enumerate(("same", "altered", "replaced"))}
    after = {"/same": image(0), "/altered": _smaller(image(1), 0.6, 70), "/replaced": image(9)}
    found = _fetched_again(server, tmp_path, before, after)
    assert [found[f"/{name}"]["verdict"] for name in ("same", "altered")] == ["same", "altered"]
    assert found["/replaced"]["status"] == "replaced"
    with tarfile.open(tmp_path / "second" / "list-00000.tar") as tar:
        assert [name for name in tar.getnames() if name.endswith("jpg")] == ["000000000.jpg", "000000001.jpg"]


@pytest.mark.parametrize("change", ["put in front", "renamed", "spelled otherwise", "in another order"])
def test_an_earlier_fetch_of_a_list_that_changed_since(server: Server, tmp_path: Path, change: str) -> None:
    """An image is held against the one that its URL had, wherever the row stood then and however it was spelled."""
    server.files = {f"/{number}": image(number) for number in range(12)}
    urls = [server.url(f"/{number}") for number in range(12)]
    shape: dict[str, Any] = {"shard_rows": 4, "task_shards": 1}
    listed = Path(write_list(tmp_path / "list.parquet", urls))
    fetch(tmp_path / "first", str(listed), **shape)
    server.files |= {"/3": image(30), "/9": image(31), "/new": image(32)}
    match change:
        case "put in front":
            write_list(listed, [server.url("/new"), *urls])
        case "renamed":
            listed = listed.rename(tmp_path / "other.parquet")
        case "spelled otherwise":
            write_list(listed, [f"HTTP{url.removeprefix('http')}#part" for url in urls])
        case "in another order":
            write_list(listed, urls[::-1])
    heard = Heard()
    settings = {**QUICK, **shape, "earlier": str(tmp_path / "first")}
    recipe = for_lists([str(listed)], str(tmp_path / "second"), settings)
    run(recipe, "fetch", Options("inline"), heard)
    found = statuses(tmp_path / "second")
    by_path = {row["url"].partition("//")[2].partition("/")[2].partition("#")[0]: row for row in found}
    assert {name for name, row in by_path.items() if row["status"] == "replaced"} == {"3", "9"}
    assert {name for name, row in by_path.items() if row["verdict"] == "same"} == {*map(str, range(12))} - {
        "3",
        "9",
    }
    said = [one for one in heard.said if "held against nothing" in one]
    assert [one.partition(": ")[2].partition(" to")[0] for one in said] == ["1 of 13 rows"] * (
        change == "put in front"
    )


def test_real_images(server: Server, test_data: Path, tmp_path: Path) -> None:
    """Of 300 real images, some re-encoded, resized or swapped: swapped found >= 99 %, altered lost <= 1 %."""
    lines = (test_data / "pairs/pairs.jsonl").read_text().splitlines()
    files = list(dict.fromkeys(json.loads(line)["file"] for line in lines))[:301]
    data = [(test_data / "pairs" / name).read_bytes() for name in files]
    before, after, swapped, altered = {}, {}, set(), set()
    for number in range(300):
        path = f"/{number}"
        before[path] = after[path] = data[number]
        if number % 3 == 0:
            after[path] = data[number + 1]
            swapped.add(path)
        elif number % 3 == 1:
            after[path] = _smaller(
                data[number], (1, 0.8, 0.5, 0.3)[number // 3 % 4], (90, 75, 50)[number % 9 // 3]
            )
            altered.add(path)
    found = _fetched_again(server, tmp_path, before, after)
    replaced = {path for path, row in found.items() if row["status"] == "replaced"}
    assert len(replaced & swapped) >= 0.99 * len(swapped)
    assert len(replaced & altered) <= 0.01 * len(altered)
    assert {found[path]["verdict"] for path in altered - replaced} == {"altered"}
    assert {row["verdict"] for path, row in found.items() if path not in swapped | altered} == {"same"}


def test_tombstones_are_listed(server: Server, tmp_path: Path) -> None:
    """An image that many hosts serve under many captions is listed, with how many."""
    server.files["/unavailable"] = image(5)
    urls = [server.url("/unavailable", f"host{number}.test") for number in range(6)]
    urls += [server.url(f"/img/{number + 10}", f"host{number}.test") for number in range(6)]
    fetch(tmp_path / "raw", write_list(tmp_path / "l.parquet", urls), resolvers=[server.resolver])
    (row,) = pq.read_table(tmp_path / "raw/work/fetch/input/tombstones.parquet").to_pylist()
    assert (row["sha256"], row["n_hosts"], row["n_captions"]) == (hashlib.sha256(image(5)).hexdigest(), 6, 6)
    hosts = pq.read_table(tmp_path / "raw/work/fetch/input/hosts.parquet").to_pylist()
    assert {(row["host"], row["status"], row["urls"]) for row in hosts} == {
        (f"host{n}.test", "ok", 2) for n in range(6)
    }


def test_hosts_of_odd_urls(server: Server, tmp_path: Path) -> None:
    """Link rot counts by the host alone, without user, port and final dot; what has no host is counted as null."""
    expected = {
        server.url("/img/1"): HOST,
        f"http://user:pw@{HOST}/a": HOST,
        f"http://a@b@{HOST}:80/a": HOST,
        "http://[::1]:8765/a": "[::1]",
        "HTTP://Away.Test.:99/a": "away.test",
        "http://away.test?at=x@other.test": "away.test",
        "http:///a": None,
        "http://a.test\\@b.test/": None,
        "data:image/png;base64,AA": None,
        None: None,
    }
    fetch(tmp_path / "raw", write_list(tmp_path / "l.parquet", [*expected]), resolvers=[server.resolver])
    hosts = pq.read_table(tmp_path / "raw/work/fetch/input/hosts.parquet").to_pylist()
    found: Counter[str | None] = Counter()
    for row in hosts:
        found[row["host"]] += row["urls"]
    assert found == Counter(expected.values())


def test_smaller_on_arrival(server: Server, tmp_path: Path) -> None:
    """Images are made smaller by the rule of the recipe, never larger; their original size and digest stay."""
    large = Image.fromarray(np.random.default_rng(1).integers(0, 255, (300, 900, 3), dtype=np.uint8))
    out = io.BytesIO()
    large.save(out, "PNG")
    server.files = {"/large": out.getvalue(), "/small": image(1)}
    listed = write_list(tmp_path / "l.parquet", [server.url("/large"), server.url("/small")])
    for rule, size in (({"max_side": 450}, (450, 150)), ({"min_side": 100}, (300, 100)), (None, (900, 300))):
        folder = tmp_path / str(size[0])
        first, second = fetch(folder, listed, resize=rule)
        assert (first["width"], first["height"]) == (900, 300)
        assert first["sha256"] == hashlib.sha256(out.getvalue()).hexdigest()
        with tarfile.open(folder / "l-00000.tar") as tar:
            stored = tar.extractfile("000000000.png")
            record = json.load(tar.extractfile("000000000.json"))  # type: ignore[arg-type]
            assert stored is not None
            assert Image.open(stored).size == size == (record["width"], record["height"])
            assert (record["original_width"], record["sha256"]) == (900, first["sha256"])
        assert (second["stored_width"] is None) == (rule != {"min_side": 100})


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_malformed_hashes_are_counted(server: Server, tmp_path: Path, form: str) -> None:
    """A hash that is none holds no image up; each run says how many rows have one, and names the first."""
    hashes = [
        ("zz", None, None),
        (" ", "", "0" * 16),
        ("sha256:" + "a" * 64, "a" * 31, None),
        ("A" * 64, "b" * 32, "1.5"),
    ]
    rows: list[Row | str | None] = [
        {"url": server.url(f"/img/{at}"), **dict(zip(("sha256", "md5", "phash"), one, strict=True))}
        for at, one in enumerate(hashes)
    ]
    listed = tmp_path / f"listed.{form}"
    write_list(listed, rows)
    if form == "jsonl":
        listed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = for_lists([str(listed)], str(tmp_path / "raw"), {**QUICK, "shard_rows": 1, "task_shards": 2})
    for _ in range(2):
        heard = Heard()
        run(recipe, "fetch", Options("inline"), heard)
        said = [line.partition(": ")[2].partition(": their")[0] for line in heard.said if "malformed" in line]
        assert said == [
            "2 rows with a malformed sha256 (the first: row 0 of listed)",
            "1 row with a malformed md5 (the first: row 2 of listed)",
            "1 row with a malformed phash (the first: row 3 of listed)",
        ]
    found = [(row["status"], row["verdict"]) for row in statuses(tmp_path / "raw")]
    assert found == [("ok", None), ("replaced", None), ("ok", None), ("ok", "unknown")]
