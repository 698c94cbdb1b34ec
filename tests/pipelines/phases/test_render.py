"""Rendered sources: drawn scenes, pages of text, PDF documents, through all phases."""

import gc
import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow.parquet as pq
import pytest

from pipelines.generators.table import TABLE
from pipelines.phases.ocr import ReadBack
from pipelines.recipe.load import load
from schemas.errors import InputError, RecipeError
from schemas.sample import Example, Phrase, Sample
from synth.documents import DocumentPage
from synth.readers import Found
from synth.regions import TextLine
from tests import needs
from tests.pipelines.building import build, rows
from tests.synth.made_pdf import SHIFTED, Sheet, pdf, text


def scenes(count: int, **more: Any) -> dict[str, Any]:
    """A recipe of drawn scenes in English and Chinese."""
    source = {"id": "scenes", "kind": "rendered", "format": "scenes", "render": {"count": count, "side": 96}}
    source["rules"] = {"min_side": False}
    return {"seed": 7, "languages": ["en", "zh"], "sources": [source], **more}


def samples(out: Path) -> list[Example]:
    """Every view of a corpus, from its indexes."""
    paths = sorted((out / "shards").rglob("*.parquet"))
    lines = [line for path in paths for line in pq.read_table(path)["sample"].to_pylist()]
    return [one for line in lines for one in Sample.from_json(line).examples]


def papers(*texts: str, **more: str) -> bytes:
    """A PDF with a line of Helvetica on each page."""
    return pdf([Sheet(text(one, 20, 120)) for one in texts], **more)


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
    made = samples(tmp_path / "out")
    assert made
    for one in made:
        image = one.images[0]
        assert max(image.width, image.height) == 48
        for turn in one.turns:
            for segment in turn.segments:
                for x1, y1, x2, y2 in segment.boxes if isinstance(segment, Phrase) else ():
                    assert 0 <= x1 < x2 <= image.width
                    assert 0 <= y1 < y2 <= image.height


def test_scenes_are_the_same_bytes_on_any_number_of_workers(tmp_path: Path) -> None:
    """The caller's process and two workers write equal manifests, and a second run does nothing."""
    build(scenes(8), tmp_path / "one")
    build(scenes(8), tmp_path / "two", workers=2)
    first, second = ((tmp_path / name / "manifest.json").read_bytes() for name in ("one", "two"))
    assert first == second
    _, heard = build(scenes(8), tmp_path / "one")
    assert heard.ran == dict.fromkeys(heard.ran, 0)


def test_more_scenes_leave_the_first_ones_alone(tmp_path: Path) -> None:
    """Raising the count keeps the keys that were there."""
    build(scenes(4), tmp_path / "few")
    build(scenes(6), tmp_path / "more")
    few, more = ({one.key for one in samples(tmp_path / name)} for name in ("few", "more"))
    assert few < more


def test_a_page_of_text_has_quads_within_it(tmp_path: Path) -> None:
    """One ocr sample a page; every line's quad lies in the picture; the manifest names the fonts."""
    needs.package("cv2")
    needs.fonts("en")
    source = {"id": "pages", "kind": "rendered", "format": "ocr", "render": {"count": 2, "setting": "mild"}}
    recipe = {"languages": ["en"], "sources": [source]}
    build(recipe, tmp_path / "out")
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
    needs.package("pypdfium2")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.pdf").write_bytes(papers("A line of words that can be read", "few"))
    (folder / "bad.pdf").write_bytes(b"this is no PDF at all")
    source = {"id": "papers", "kind": "rendered", "format": "pdf", "path": str(folder), "max_quarantine": 1}
    build({"sources": [source]}, tmp_path / "out")
    assert outcomes(tmp_path / "out") == {
        "good-p00000": ("kept", None, None),
        "good-p00001": ("dropped", "few_characters", "few_characters: 3 characters, fewer than 10"),
        "bad": ("quarantined", "undecodable", "not a PDF, or damaged beyond repair"),
    }
    assert "A line of words" in samples(tmp_path / "out")[0].text


def outcomes(out: Path) -> dict[str, tuple[str, str | None, str | None]]:
    """Decision, reason and detail of each page."""
    found = rows(out, "decisions")
    return {row["member"]: (row["decision"], row["reason"], row["detail"]) for row in found}


def test_a_page_that_does_not_show_its_text_is_dropped(tmp_path: Path) -> None:
    """Read back, a PDF whose fonts say other letters than they draw is a mismatch with its figure."""
    needs.package("pypdfium2")
    needs.package("rapidocr")
    folder = tmp_path / "in"
    folder.mkdir()
    line = "A line of words that can be read"
    (folder / "true.pdf").write_bytes(papers(line))
    (folder / "false.pdf").write_bytes(papers(line, to_unicode=SHIFTED))
    source = {"id": "papers", "kind": "rendered", "format": "pdf", "path": str(folder)}
    build({"sources": [{**source, "render": {"readback": 1}}]}, tmp_path / "out")
    told = outcomes(tmp_path / "out")
    assert told["true-p00000"] == ("kept", None, None)
    decision, reason, detail = told["false-p00000"]
    assert (decision, reason) == ("dropped", "mismatch")
    assert detail is not None
    assert re.fullmatch(r"mismatch: character error rate [01]\.\d{3}, more than 0\.15", detail)
    rates = {row["member"]: row["error_rate"] for row in rows(tmp_path / "out", "signals")}
    assert rates["true-p00000"] < 0.05
    assert rates["false-p00000"] > 0.5


def test_words_and_the_whole_text_where_asked_for(tmp_path: Path) -> None:
    """`level: word` gives a quad a word, `whole_text` a question for all of it beside."""
    needs.package("pypdfium2")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "one.pdf").write_bytes(papers("four words stand here"))
    render = {"level": "word", "whole_text": True}
    source = {"id": "papers", "kind": "rendered", "format": "pdf", "path": str(folder), "render": render}
    build({"sources": [source]}, tmp_path / "out")
    made = {one.task: one for one in samples(tmp_path / "out")}
    phrases = [one.phrase for one in made["ocr"].turns[0].segments if isinstance(one, Phrase)]
    assert phrases == ["four", "words", "stand", "here"]
    assert "four words stand here" in made["vqa"].text


def test_names_that_would_fall_together_stay_apart(tmp_path: Path) -> None:
    """Documents whose names differ in a dot, a suffix or beyond any tar's patience are rows of their own."""
    needs.package("pypdfium2")
    folder = tmp_path / "in"
    names = [
        "a.b.pdf",
        "a_b.pdf",
        "a/b.pdf",
        "a__b.pdf",
        f"{'long name ' * 20}.pdf",
        f"{'漢字' * 40}.pdf",
        ".pdf",
    ]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(papers(f"document number {number}"))
    source = {"id": "papers", "kind": "rendered", "format": "pdf", "path": str(folder)}
    build({"sources": [source]}, tmp_path / "out")
    texts = sorted(one.text.split("document")[1].strip()[:8] for one in samples(tmp_path / "out"))
    assert texts == [f"number {number}" for number in range(len(names))]


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Objects in cycles stay: what ends must be ended, not left to the collector."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_what_lies_beside_a_page_counts(tmp_path: Path) -> None:
    """A changed style sheet renders its page anew, by a browser of its own, and only then is there anything to do."""
    folder = tmp_path / "in"
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        sheet = '<link rel="stylesheet" href="style.css">'
        (folder / name / "page.html").write_text(
            f"{sheet}<p>words that can be read</p><p class=more>and more</p>"
        )
        (folder / name / "style.css").write_text("p { font: 20px sans-serif }")
    source = {"id": "web", "kind": "rendered", "format": "html", "path": str(folder)}
    build_html({"sources": [source]}, tmp_path / "out")
    (folder / "one" / "style.css").write_text(".more { display: none }")
    _, heard = build({"sources": [source]}, tmp_path / "out")
    assert heard.ran["render"] == 1
    told = {one.text.count("and more") for one in samples(tmp_path / "out")}
    assert told == {0, 1}
    assert {one.language for one in samples(tmp_path / "out")} == {"en"}
    _, heard = build({"sources": [source]}, tmp_path / "out")
    assert heard.ran["render"] == 0


def build_html(recipe: dict[str, Any], out: Path) -> None:
    """Build a recipe with HTML in it; skips where there is no browser."""
    needs.package("playwright")
    needs.chromium()
    build(recipe, out)


def test_nothing_stays_of_shards_that_are_gone(tmp_path: Path) -> None:
    """With fewer pages, or without its source, a rendered shard's tar, tables and receipts are removed."""
    needs.package("pypdfium2")
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(9):
        (folder / f"{number}.pdf").write_bytes(papers(f"document number {number}"))
    source = {"id": "papers", "kind": "rendered", "format": "pdf", "path": str(folder)}
    recipe = scenes(2)
    both = {**recipe, "sources": [source, *recipe["sources"]]}
    out = tmp_path / "out"
    build(both, out)
    assert {path.name for path in (out / "work" / "rendered" / "papers").iterdir()} == {
        "pdf-00000.tar",
        "pdf-00001.tar",
    }
    (folder / "8.pdf").unlink()
    build(both, out)
    assert [path.name for path in (out / "work" / "rendered" / "papers").iterdir()] == ["pdf-00000.tar"]
    assert not [path for path in (out / "work").rglob("*") if "pdf-00001" in path.name]
    build(recipe, out)
    assert not [path for path in (out / "work").rglob("*") if "pdf-0000" in path.name]


def test_a_worker_that_would_render_otherwise_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose machine differs from that of the run's begin ends the run with a sentence that names both."""
    told = iter(["1.0", *["2.0"] * 9])
    monkeypatch.setitem(TABLE, "scenes", replace(TABLE["scenes"], facts=lambda job: {"ink": next(told)}))
    with pytest.raises(InputError, match=r"worker renders with ink 2\.0, where the run began with ink 1\.0"):
        build(scenes(1), tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "seen", "sure", "rate"),
    [
        ("안녕하세요 여러분", "ol", 0.95, None),
        ("안녕하세요 여러분", "scribbles", 0.6, None),
        ("안녕하세요 여러분", "good day", 0.95, 1.0),
        ("good day", "good day", 0.95, 0.0),
        ("good day", "", 0.0, 1.0),
    ],
)
def test_a_reader_judges_pages_in_its_own_script(
    words: str, seen: str, sure: float, rate: float | None
) -> None:
    """A page in characters that the reader cannot write is not judged by what it makes of them; one that
    shows other letters than it tells, which the reader knows well, is."""
    needs.package("cv2")
    quad = ((1.0, 1.0), (50.0, 1.0), (50.0, 15.0), (1.0, 15.0))

    class Latin:
        alphabet = frozenset("abcdefghijklmnopqrstuvwxyz ")

        def read(self, pixels: Any) -> list[Found]:
            return [Found(seen, quad, sure)] if seen else []

    out = BytesIO()
    PIL.Image.new("RGB", (60, 20), "white").save(out, "JPEG")
    page = DocumentPage(0, out.getvalue(), 60, 20, (TextLine(words, quad),), {})
    agreement = ReadBack(0, Latin()).agreement(page)
    assert (None if agreement is None else agreement.error_rate) == rate


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"id": "a", "kind": "rendered", "format": "scenes"}, "render.count is missing"),
        (
            {"id": "a", "kind": "rendered", "format": "scenes", "render": {"count": 1, "setting": "mild"}},
            "render.setting: format scenes has no such setting; it has count, side, shapes,",
        ),
        ({"id": "a", "path": "x", "render": {"count": 1}}, "render: goes with kind: rendered"),
        ({"id": "a", "kind": "rendered", "format": "ocrs"}, "'ocrs' is unknown here; did you mean ocr"),
        ({"id": "a", "kind": "rendered", "format": "vqav2", "path": "x"}, "not for kind: rendered"),
        ({"id": "a", "kind": "rendered", "path": "x"}, "format: goes with"),
        ({"id": "a", "format": "ocr", "path": "x"}, "format: goes with"),
    ],
)
def test_a_rendered_source_that_lacks_something_is_refused(source: dict[str, Any], sentence: str) -> None:
    """What is missing or does not fit is said by name."""
    with pytest.raises(RecipeError, match=sentence):
        load({"sources": [source]})
