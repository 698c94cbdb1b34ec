import base64
import io
import json
import re
import tarfile
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pixels
from rich.cells import cell_len
from rich.console import Console

from pipelines.show.inspect import html, samples, show
from pipelines.writers import parquet, webdataset
from pipelines.writers.columns import Item
from schemas.errors import InputError
from schemas.sample import Example, ImageRef, Phrase, Text, Turn
from tests.pipelines.corpora import alone, image, item, items, picture

EVIL = '</mark><script>alert(1)</script>" onerror="x \x1b[31mred\x1b[0m \u202egnp.exe\nnext'


def shard(folder: Path, *given: Item) -> str:
    with (folder / "00000.tar").open("wb") as tar, (folder / "00000.parquet").open("wb") as index:
        webdataset.write(given or items(5), tar, index)
    return str(folder / "00000.tar")


def raw_tar(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(path)


def printed(path: str, n: int = 10, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    show(path, n, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(path: str, folder: Path, n: int = 10) -> Page:
    out = folder / "page.html"
    html(path, n, str(out))
    return Page(out.read_text("utf-8"))


def test_our_tar_is_read_by_its_index(tmp_path: Path) -> None:
    """The first n samples come back whole, from the tar's path as from its index's."""
    path = shard(tmp_path)
    for name in (path, path.replace(".tar", ".parquet")):
        shown = list(samples(name, 3))
        assert [one.sample for one in shown] == [item(number).sample for number in range(3)]
        assert [one.images for one in shown] == [(picture(number),) for number in range(3)]


@pytest.mark.parametrize("schema", [parquet.ONE, parquet.SEVERAL], ids=["one", "several"])
def test_our_parquet_is_read(tmp_path: Path, schema: pa.Schema) -> None:
    """Parquet shards give the same samples and pictures, whichever column holds these."""
    path = tmp_path / "00000.parquet"
    with path.open("wb") as file:
        parquet.write(items(3), file, schema)
    assert [one.sample for one in samples(str(path))] == [item(number).sample for number in range(3)]
    assert [one.images for one in samples(str(path))] == [(picture(number),) for number in range(3)]


def test_raw_shards_are_read(tmp_path: Path) -> None:
    """An img2dataset tar and Parquet with bytes show members, captions and what is wrong with a row."""
    members = {"000000000.jpg": picture(1), "000000000.txt": "猫".encode(), "000000001.jpg": b""}
    tar = raw_tar(tmp_path / "a.tar", members)
    pq.write_table(pa.table({"key": ["x"], "url": ["u"]}), tmp_path / "a.parquet")  # its metadata
    pq.write_table(pa.table({"image": [picture(2)], "caption": ["cat"]}), tmp_path / "b.parquet")
    first, _ = samples(tar)
    assert (first.sample, first.member, first.caption) == (None, "000000000", "猫")
    assert first.images == (picture(1),)
    assert "000000001  raw  empty (0 bytes)\n  (no words)" in printed(tar)
    (only,) = samples(str(tmp_path / "b.parquet"))
    assert (only.caption, only.images) == ("cat", (picture(2),))


def test_what_is_no_shard_is_one_sentence(tmp_path: Path) -> None:
    """A missing file, another kind of file, broken Parquet: InputError on one line."""
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    (tmp_path / "y.txt").write_text("x")
    for name in ("x.parquet", "y.txt", "nowhere.tar"):
        with pytest.raises(InputError) as caught:
            list(samples(str(tmp_path / name)))
        assert "\n" not in str(caught.value)


def test_an_index_cannot_ask_for_more_than_a_picture(tmp_path: Path) -> None:
    """An offset below zero or a size above the limit is refused, not read."""
    path = shard(tmp_path)
    index = tmp_path / "00000.parquet"
    table = pq.read_table(index)
    rows = table.to_pylist()
    for name, value in (("offset", -1), ("size", 2**50)):
        place = {**rows[0]["images"][0], name: value}
        pq.write_table(pa.Table.from_pylist([{**rows[0], "images": [place]}], table.schema), index)
        with pytest.raises(InputError, match="cannot be"):
            list(samples(path))


def test_a_tar_that_is_not_what_its_index_says(tmp_path: Path) -> None:
    """A tar that was cut or taken away, and an index of another form, are one sentence each."""
    path = Path(shard(tmp_path))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 4])
    with pytest.raises(InputError, match=r"00000\.tar ends inside .*\.jpg: copy it again"):
        list(samples(str(path)))
    path.unlink()
    for name in ("00000.tar", "00000.parquet"):
        with pytest.raises(InputError, match=r"index of .*00000\.tar, which is missing"):
            list(samples(str(tmp_path / name)))
    index = tmp_path / "00000.parquet"
    pq.write_table(pq.read_table(index).replace_schema_metadata(None), index)
    with pytest.raises(InputError, match="of another form"):
        list(samples(str(index)))


def test_lines_are_cut_to_the_width(tmp_path: Path) -> None:
    """Words take one line of the console each, ended with an ellipsis; Chinese counts two columns."""
    lines = printed(shard(tmp_path, item(0, "一只猫" * 100), item(1, "x" * 500)), width=80).splitlines()
    words = [line for line in lines if line.startswith("  ")]
    assert [cell_len(line) for line in words] == [80, 80]
    assert all(line.endswith("…") for line in words)


def test_the_terminal_is_safe(tmp_path: Path) -> None:
    """Control characters of a caption and rich's own markup reach the terminal as plain characters."""
    text = printed(shard(tmp_path, item(0, EVIL), item(1, "[bold]x[/bold] :cat:")), width=200)
    assert not set(text) & {"\x1b", "\u202e", "\r"}
    assert "[bold]x[/bold] :cat:" in text
    assert "en  web  JPEG 8×9 1 KiB" in text


def test_the_page_is_whole_and_safe(tmp_path: Path) -> None:
    """Texts are escaped and carry their language; pictures are inside; nothing is loaded from elsewhere."""
    found = page(shard(tmp_path, item(0, EVIL, language="zh-TW"), item(1, language='"><b>')), tmp_path)
    names = [name for name, _ in found.tags]
    assert not {"script", "link", "iframe", "b"} & set(names)
    assert EVIL.split("\x1b")[0] in found.text
    assert "\x1b" not in found.text
    turns = [attributes for _, attributes in found.tags if attributes.get("class") == "turn"]
    assert [one["lang"] for one in turns] == ["zh-TW", "und"]
    sources = [str(attributes["src"]) for name, attributes in found.tags if name == "img"]
    assert [base64.b64decode(one.removeprefix("data:image/jpeg;base64,")) for one in sources] == [
        picture(0),
        picture(1),
    ]
    text = (tmp_path / "page.html").read_text("utf-8")
    assert not re.search(r"https?://|url\(|@import", text)
    assert "default-src 'none'" in text


def test_the_page_is_the_same_twice(tmp_path: Path) -> None:
    """Two pages of one shard are equal to the byte, and no temporary file is left."""
    path = shard(tmp_path)
    for name in ("a.html", "b.html"):
        html(path, 3, str(tmp_path / name))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert not list(tmp_path.glob("*.tmp"))


def test_turns_phrases_and_several_pictures_are_told_apart(tmp_path: Path) -> None:
    """Roles, the places of pictures, what is taught and what stands for a region show on the page."""
    turns = (
        Turn("user", (ImageRef(1), Text("Where?"), ImageRef(0))),
        Turn("assistant", (Text("there: ", True), Phrase("cat", ((0, 0, 1, 1),), (), True))),
    )
    pictures = [picture(1), picture(2, "PNG")]
    sample = alone(Example("k", "chat", "train", "en", "s", "l", tuple(map(image, pictures)), turns))
    found = page(shard(tmp_path, Item(sample, pictures)), tmp_path)
    assert "user[image 2]Where?[image 1]" in found.text
    assert "assistantthere: cat" in found.text
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "<mark>there: </mark><u><mark>cat</mark></u></p>" in text


def test_a_picture_that_cannot_be_shown_is_said_so(tmp_path: Path) -> None:
    """Bytes that are no picture give a note in its place; the other rows are there."""
    members = {"0.jpg": b"<html>", "0.txt": b"x", "1.jpg": picture(1), "1.txt": b"y"}
    found = page(raw_tar(tmp_path / "a.tar", members), tmp_path)
    assert "cannot be shown" in found.text
    assert "not_image (6 bytes)" in found.text
    assert sum(name == "img" for name, _ in found.tags) == 1


def test_large_pictures_and_odd_formats_become_small_jpegs(tmp_path: Path) -> None:
    """What a browser does not know, or is heavy, is shown as a smaller JPEG."""
    out = io.BytesIO()
    Pixels.effect_noise((1500, 1000), 90).save(out, "TIFF")
    found = page(raw_tar(tmp_path / "a.tar", {"0.jpg": out.getvalue(), "0.txt": b"x"}), tmp_path)
    (source,) = (str(attributes["src"]) for name, attributes in found.tags if name == "img")
    with Pixels.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as small:
        assert (small.format, small.size) == ("JPEG", (768, 512))


def test_a_damaged_shard_shows_what_came_before(tmp_path: Path) -> None:
    """The page of a cut tar has the rows before the damage, and a note."""
    path = raw_tar(tmp_path / "a.tar", {f"{n}.{s}": picture(n) for n in range(3) for s in ("jpg", "txt")})
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: 512 * 9])
    found = page(path, tmp_path)
    assert any(attributes.get("class") == "note" for _, attributes in found.tags)
    assert any(name == "article" for name, _ in found.tags)


def test_real_shards_are_shown(test_data: Path, tmp_path: Path) -> None:
    """A shard as img2dataset wrote it gives its 32 pictures with their captions."""
    path = test_data / "formats/webdataset/cc12m-train-0000.tar"
    found = page(str(path), tmp_path, 100)
    assert sum(name == "img" for name, _ in found.tags) == 32
    with tarfile.open(path) as tar:
        texts = [tar.extractfile(member) for member in tar if member.name.endswith(".json")]
        captions = [json.load(text)["caption"] for text in texts if text]
    assert all(" ".join(caption.split()) in " ".join(found.text.split()) for caption in captions)
