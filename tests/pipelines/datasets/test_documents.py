"""Interleaved documents: HTML, Markdown, OBELICS, MMC4."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.datasets.dataset import build
from pipelines.datasets.drafts import NamedImage
from pipelines.datasets.interleaved import MMC4, OBELICS, interleaved
from pipelines.datasets.pages import PAGES, html_blocks, local_name, markdown_blocks, page_records
from pipelines.datasets.reasons import Refused
from schemas.sample import ImageRef, Text
from tests.pipelines.datasets.common import as_sample, one, reason, records, segments

FILES = frozenset({"a.png", "img/b c.png"})


def test_words_and_pictures_come_in_order() -> None:
    """Blocks are paragraphs, white space is folded, what is not seen is not read."""
    page = b"""<html lang=zh-CN><head><title>no</title></head><body><nav>menu</nav><h1>Head\n ing</h1>
    <p>One <b>bold</b>&amp;<img src="./a.png" alt=x>two<br>three</p><script>no()</script><div hidden>no</div>
    <pre>  x\n   y</pre><img data-src="img/b%20c.png?v=1" src="data:image/gif;base64,AA"><table><tr><td>1</td><td>2</td>
    </tr></table><ul><li>p</li><li>q</li></ul><p style="display: none">no</p><!-- no --></body></html>"""
    blocks, lost, language = html_blocks(page, FILES)
    assert blocks == [
        *(
            "Head ing",
            "One bold&",
            NamedImage("a.png"),
            "two",
            "three",
            "  x\n   y",
            NamedImage("img/b c.png"),
        ),
        *("1 2", "p", "q"),
    ]
    assert (lost, language) == ([], "zh")


def test_markdown_is_read_alike() -> None:
    """Pictures of Markdown and of HTML inside it, code, and lists are read in order."""
    page = "# Head\n\nOne *bold* ![alt](a.png) two\nlines\n\n```\n x\n```\n\n- p\n- q\n\n"
    page += "<p>raw <img src='img/b%20c.png'></p>\n"
    blocks, lost, _ = markdown_blocks(page.encode(), FILES)
    assert blocks == [
        *(
            "Head",
            "One bold",
            NamedImage("a.png"),
            "two\nlines",
            " x",
            "p",
            "q",
            "raw",
            NamedImage("img/b c.png"),
        ),
    ]
    assert lost == []


@pytest.mark.parametrize("read", [html_blocks, markdown_blocks])
def test_only_files_of_the_folder_are_shown(read: Any) -> None:
    """Addresses, files elsewhere and missing ones each have their reason."""
    sources = [
        "http://x/y.png",
        "//x/y.png",
        "data:image/png;base64,A",
        "../a.png",
        "/etc/passwd",
        "gone.png",
        "",
    ]
    page = "".join(f'<p>x<img src="{source}"></p>\n\n' for source in sources)
    blocks, lost, _ = read(page.encode(), FILES)
    assert blocks == ["x"] * len(sources)
    assert [one.reason for one in lost] == [
        *(
            "remote_image",
            "remote_image",
            "inline_image",
            "outside_image",
            "outside_image",
            "missing_image",
            "no_image",
        )
    ]


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("./a.png", "a.png"),
        ("b/../a.png", "a.png"),
        ("a%20b.png#x", "a b.png"),
        ("b\\a.png?x=/../", "b/a.png"),
    ],
)
def test_names_are_made_plain(reference: str, name: str) -> None:
    """A reference is a path below the page's folder, whatever its spelling."""
    assert local_name(reference) == name


@settings(deadline=None)
@given(st.text(st.sampled_from("./\\%2efa:C\x00?# "), max_size=14))
def test_no_reference_leads_outside(reference: str) -> None:
    """Whatever a page writes, the name stays below its folder or is refused."""
    try:
        name = local_name(reference)
    except Refused:
        return
    assert not name.startswith("/")
    assert ".." not in name.split("/")
    assert "\x00" not in name


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ("<meta charset=gbk>".encode("gbk"), "漫游指南".encode("gbk")),
        (b"\xff\xfe", "漫游指南".encode("utf-16-le")),
        (b"\xef\xbb\xbf", "漫游指南".encode()),
        (b"<meta charset=punycode>", "漫游指南".encode()),
    ],
)
def test_the_page_says_how_it_is_written(head: bytes, text: bytes) -> None:
    """Charsets of the web are honoured, other codecs are not."""
    blocks, _, _ = html_blocks(head + text, FILES)
    assert blocks == ["漫游指南"]


def test_a_page_nests_as_deep_as_it_likes() -> None:
    """Depth is no way to stop the reader."""
    blocks, _, _ = html_blocks(b"<div>" * 20_000 + b"deep", FILES)
    assert blocks == ["deep"]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_page(page: bytes) -> None:
    """Neither reader raises on junk."""
    for read in (html_blocks, markdown_blocks):
        blocks, _, _ = read(page, FILES)
        assert all(isinstance(block, NamedImage) or block.strip() for block in blocks)


def test_pages_of_a_folder(tmp_path: Path) -> None:
    """Pages are named by path, pictures too; a link out of the folder shows nothing."""
    (tmp_path / "in/img").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "in/img/a.png").write_bytes(b"x")
    (tmp_path / "in/img/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in/out.html").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in/p.html").write_text("<p>One<img src=img/a.png><img src=img/link.png>two")
    (tmp_path / "in/q.md").write_text("words only")
    first, second, third = build(page_records(tmp_path / "in"), PAGES)
    assert (first.member, first.refusal and first.refusal.reason) == ("out.html", "outside_image")
    assert second.member == "p.html"
    assert second.drafts[0].images == (NamedImage("img/a.png"),)
    assert segments(second.drafts[0]) == (Text("One\n", True), ImageRef(0), Text("two", True))
    assert [lost.reason for lost in second.lost] == ["missing_image"]
    assert (third.member, third.refusal and third.refusal.reason) == ("q.md", "no_images")


def test_real_sites(test_data: Path) -> None:
    """A Chinese book with many pictures keeps all its words in order, in samples of the limits' size."""
    built = {one.member: one for one in build(page_records(test_data / "documents/sites"), PAGES)}
    book = built["site-phodal-github/index.html"]
    assert book.drafts
    folder = test_data / "documents/sites"
    for draft in book.drafts:
        assert len(draft.images) <= 7
        assert all((folder / picture.name).is_file() for picture in draft.images)
        as_sample(draft)
    assert sum(len(draft.images) for draft in book.drafts) >= 15
    assert all(one.refusal or one.drafts for one in built.values())


def obelics_of(*places: Any) -> dict[str, Any]:
    images = [place if isinstance(place, str) and place.startswith("http") else None for place in places]
    texts = [None if image else place for place, image in zip(places, images, strict=True)]
    return {"images": images, "texts": texts}


def test_obelics_is_read_place_by_place() -> None:
    """Parallel lists become words and pictures in order."""
    built = one(build(records(obelics_of("One.", "http://x/1", "http://x/2", " ", "Two.")), OBELICS))
    assert segments(built.drafts[0]) == (Text("One.\n", True), ImageRef(0), ImageRef(1), Text("Two.", True))
    assert built.drafts[0].images[1].name == "http://x/2"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"images": ["http://x"], "texts": ["both"]}, "image_place"),
        ({"images": ["http://x"], "texts": []}, "bad_record"),
        (obelics_of("words"), "no_images"),
        (obelics_of("http://x"), "no_text"),
        ({"images": [None], "texts": [None]}, "no_text"),
        ({"images": [3], "texts": [None]}, "no_image"),
        ({"texts": []}, "bad_record"),
    ],
)
def test_a_bad_obelics_document_is_refused(value: dict[str, Any], expected: str) -> None:
    """Places with both or neither, and documents without words or pictures, have reasons."""
    assert reason(build(records(value), OBELICS)) == expected


def test_mmc4_pictures_stand_before_their_sentence() -> None:
    """A picture goes before the sentence that it is with; one without a place is lost alone."""
    info = [
        {"image_name": "b.jpg", "matched_text_index": 1},
        {"image_name": "a.jpg", "matched_text_index": 0},
        {"image_name": "c.jpg", "matched_text_index": 9},
        {"matched_text_index": 0},
    ]
    built = one(build(records({"text_list": ["One.", "Two."], "image_info": info}), MMC4))
    assert [picture.name for picture in built.drafts[0].images] == ["a.jpg", "b.jpg"]
    assert segments(built.drafts[0]) == (ImageRef(0), Text("One.\n", True), ImageRef(1), Text("Two.", True))
    assert [lost.reason for lost in built.lost] == ["image_place", "no_image"]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["http://x/1", "http://x/2", "aa", "bbbb"]), max_size=12),
    st.integers(1, 3),
    st.integers(1, 8),
)
def test_long_documents_become_several_without_losing_a_block(
    places: list[str], images: int, characters: int
) -> None:
    """Samples hold at most so many pictures and characters, and together everything in order."""
    blocks = [NamedImage(place) if place.startswith("http") else place for place in places]
    if not (
        any(isinstance(one, str) for one in blocks) and any(isinstance(one, NamedImage) for one in blocks)
    ):
        with pytest.raises(Refused, match=r"no_images|no_text"):
            interleaved(blocks, "en", (), images, characters)
        return
    drafts = interleaved(blocks, "en", (), images, characters)
    read: list[str] = []
    for draft in drafts:
        assert len([s for s in segments(draft) if isinstance(s, ImageRef)]) <= images
        assert draft.task == ("interleaved" if draft.images else "text")
        for segment in segments(draft):
            if isinstance(segment, ImageRef):
                read.append(draft.images[segment.image].name)
            elif isinstance(segment, Text):
                read += segment.text.split("\n")
    assert [block for block in read if block] == places
