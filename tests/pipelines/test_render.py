"""Rendered sources: drawn scenes, pages of text, PDF documents, through all phases."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.errors import InputError, VlcorpusError
from schemas.recipe import Recipe
from schemas.sample import Phrase, Sample
from tests.pipelines.building import build, rows


def scenes(count: int, **more: Any) -> dict[str, Any]:
    """A recipe of drawn scenes in English and Chinese."""
    source = {"id": "scenes", "kind": "rendered", "format": "scenes", "render": {"count": count, "side": 96}}
    return {"seed": 7, "languages": ["en", "zh"], "sources": [source], **more}


def samples(out: Path) -> list[Sample]:
    """Every sample of a corpus, from its indexes."""
    paths = sorted((out / "shards").rglob("*.parquet"))
    return [Sample.from_json(line) for path in paths for line in pq.read_table(path)["sample"].to_pylist()]


def pdf(*pages: str) -> bytes:
    """A PDF with a line of Helvetica on each page."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    font = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    for number, text in enumerate(pages):
        content = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode()
        contents = f"/Contents {4 + 2 * number} 0 R"
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {font} {contents} >>"
        objects.append(page.encode())
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    body, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(body))
    return body + head + table + trailer


def test_a_scene_feeds_every_task(tmp_path: Path) -> None:
    """Each picture gives a caption, a caption with boxes, regions both ways, questions and a dialogue."""
    build(scenes(6), tmp_path / "out")
    made = samples(tmp_path / "out")
    assert {one.task for one in made} == {
        "caption", "grounding", "referring", "grounded_caption", "vqa", "chat",
    }  # fmt: skip
    assert {one.language for one in made} == {"en", "zh"}
    decisions = rows(tmp_path / "out", "decisions")
    assert [row["decision"] for row in decisions] == ["kept"] * 6
    pictures = {image.sha256 for one in made for image in one.images}
    assert len(pictures) == 6


def test_every_box_of_a_scene_lies_in_its_picture(tmp_path: Path) -> None:
    """Boxes have extent and stay within the stored picture, also where the recipe makes it smaller."""
    build(scenes(6, resize={"max_side": 48}), tmp_path / "out")
    for one in samples(tmp_path / "out"):
        image = one.images[0]
        assert max(image.width, image.height) == 48
        for turn in one.turns:
            for segment in turn.segments:
                for x1, y1, x2, y2 in segment.boxes if isinstance(segment, Phrase) else ():
                    assert 0 <= x1 < x2 <= image.width
                    assert 0 <= y1 < y2 <= image.height


def test_scenes_are_the_same_bytes_on_any_number_of_workers(tmp_path: Path) -> None:
    """One worker and two write equal manifests, and a second run does nothing."""
    build(scenes(8), tmp_path / "one")
    build(scenes(8), tmp_path / "two", workers=2)
    first, second = ((tmp_path / name / "manifest.json").read_bytes() for name in ("one", "two"))
    assert first == second
    _, heard = build(scenes(8), tmp_path / "one")
    assert heard.ran == {**dict.fromkeys(heard.ran, 0), "card": 1}


def test_more_scenes_leave_the_first_ones_alone(tmp_path: Path) -> None:
    """Raising the count keeps the keys that were there."""
    build(scenes(4), tmp_path / "few")
    build(scenes(6), tmp_path / "more")
    few, more = ({one.key for one in samples(tmp_path / name)} for name in ("few", "more"))
    assert few < more


def test_a_page_of_text_has_quads_within_it(tmp_path: Path) -> None:
    """One ocr sample a page; every line's quad lies in the picture; the manifest names the fonts."""
    pytest.importorskip("cv2", reason="pages need opencv")
    source = {"id": "pages", "kind": "rendered", "format": "ocr", "render": {"count": 2, "setting": "mild"}}
    recipe = {"languages": ["en"], "sources": [source]}
    try:
        build(recipe, tmp_path / "out")
    except InputError as error:
        pytest.skip(f"no fonts here: {error}")
    made = samples(tmp_path / "out")
    assert [one.task for one in made] == ["ocr", "ocr"]
    for one in made:
        phrases = [segment for segment in one.turns[0].segments if isinstance(segment, Phrase)]
        assert phrases
        for quad in (quad for phrase in phrases for quad in phrase.quads):
            assert all(0 <= x <= one.images[0].width and 0 <= y <= one.images[0].height for x, y in quad)
    assert '"fonts":["' in (tmp_path / "out" / "manifest.json").read_text().replace(" ", "").replace("\n", "")


def test_pages_of_a_pdf_are_rows_with_reasons(tmp_path: Path) -> None:
    """A page with text is kept, one with next to none is dropped, and what is no PDF is quarantined."""
    pytest.importorskip("pypdfium2", reason="PDF needs pypdfium2")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.pdf").write_bytes(pdf("A line of words that can be read", "few"))
    (folder / "bad.pdf").write_bytes(b"this is no PDF at all")
    source = {"id": "papers", "kind": "rendered", "format": "pdf", "path": str(folder), "max_quarantine": 1}
    build({"sources": [source]}, tmp_path / "out")
    told = {row["member"]: (row["decision"], row["reason"]) for row in rows(tmp_path / "out", "decisions")}
    assert told["good-p00001"] == ("kept", None) or told.get("good-p00000") == ("kept", None)
    assert ("dropped", "few_characters") in told.values()
    assert [value for name, value in told.items() if name.startswith("bad")] == [
        ("quarantined", "undecodable")
    ]
    assert "A line of words" in samples(tmp_path / "out")[0].text


def test_a_folder_without_documents_is_one_sentence(tmp_path: Path) -> None:
    """An empty folder names the source and what was looked for."""
    (tmp_path / "in").mkdir()
    source = {"id": "papers", "kind": "rendered", "format": "pdf", "path": str(tmp_path / "in")}
    with pytest.raises(InputError, match="source papers: no pdf documents in"):
        build({"sources": [source]}, tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"id": "a", "kind": "rendered", "format": "scenes"}, "render.count is missing"),
        ({"id": "a", "kind": "rendered", "format": "vqav2", "path": "x"}, "not for kind: rendered"),
        ({"id": "a", "kind": "rendered", "path": "x"}, "format: goes with"),
        ({"id": "a", "format": "ocr", "path": "x"}, "format: goes with"),
    ],
)
def test_a_rendered_source_that_lacks_something_is_refused(source: dict[str, Any], sentence: str) -> None:
    """What is missing or does not fit is said by name."""
    with pytest.raises((ValueError, VlcorpusError), match=sentence):
        Recipe.model_validate({"sources": [source]})
