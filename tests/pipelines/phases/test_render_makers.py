"""Pages and scenes with words, made from a recipe's texts, fonts and pictures, through all phases."""

import json
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.recipe.load import load
from schemas.errors import InputError, RecipeError
from schemas.sample import Phrase
from tests.pipelines.building import build
from tests.pipelines.crawls import run_inline
from tests.pipelines.phases.test_render import samples

pytest.importorskip("cv2", reason="pages need opencv")
pytest.importorskip("fontTools", reason="pages need fonttools")

from tests.synth.page.made_fonts import font  # after the skips above: it makes fonts with fontTools

WORDS = "the quick brown fox jumps over the lazy dog and sleeps in the sun until noon\n"


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """A folder of one made font, a text, and a red and a blue picture, as render settings."""
    folder = tmp_path / "given"
    (folder / "fonts").mkdir(parents=True)
    font(folder / "fonts" / "made.ttf")
    (folder / "words.txt").write_text(WORDS * 3, "utf-16")
    (folder / "pictures").mkdir()
    for name, colour in (("a.png", (200, 0, 0)), ("b.jpg", (0, 0, 200))):
        Image.new("RGB", (900, 700), colour).save(folder / "pictures" / name)
    return {
        "count": 2,
        "fonts": str(folder / "fonts"),
        "texts": [str(folder / "words.txt")],
        "pictures": [str(folder / "pictures")],
    }


def recipe(form: str, render: dict[str, Any]) -> dict[str, Any]:
    """A recipe of one made source."""
    source = {"id": "made", "kind": "rendered", "format": form, "render": render}
    return {"seed": 5, "languages": ["en"], "sources": [source]}


def phrases(out: Path) -> list[tuple[Any, Phrase]]:
    """(the picture's record, phrase) of every phrase of a corpus."""
    return [
        (one.images[0], segment)
        for one in samples(out)
        for turn in one.turns
        for segment in turn.segments
        if isinstance(segment, Phrase)
    ]


@pytest.mark.parametrize(
    ("form", "level"),
    [("ocr", "line"), ("ocr", "character"), ("scene_text", "word"), ("scene_text", "character")],
)
def test_every_quad_is_inside_its_picture(
    given: dict[str, Any], tmp_path: Path, form: str, level: str
) -> None:
    """One ocr sample a page at each level; quads have extent and stay within the stored picture."""
    build(recipe(form, {**given, "level": level}), tmp_path / "out")
    assert [one.task for one in samples(tmp_path / "out")] == ["ocr"] * 2
    found = phrases(tmp_path / "out")
    assert found
    for image, phrase in found:
        (quad,) = phrase.quads
        assert all(0 <= x <= image.width and 0 <= y <= image.height for x, y in quad)
        assert len(set(quad)) == 4
    if level == "character":
        assert all(len(phrase.phrase) == 1 for _, phrase in found)
    if level == "word":
        assert {phrase.phrase for _, phrase in found} <= set(WORDS.split())


def test_scenes_lie_on_the_given_pictures(given: dict[str, Any], tmp_path: Path) -> None:
    """Behind the words is one of the pictures, red or blue, and more pictures are another corpus."""
    out = tmp_path / "out"
    given["count"] = 4
    build(recipe("scene_text", given), out)
    corners = []
    with tarfile.open(next((out / "shards").rglob("*.tar"))) as tar:
        for member in tar.getnames():
            if member.endswith(".jpg"):
                file = tar.extractfile(member)
                assert file is not None
                corners.append(np.asarray(Image.open(BytesIO(file.read())))[2, 2].tolist())
    assert corners
    assert all(max(red, blue) > 150 and green < 60 for red, green, blue in corners)
    before = (out / "manifest.json").read_bytes()
    for name in "cdefgh":  # of one or two, no scene might lie on any
        Image.new("RGB", (900, 700), (0, 200, 0)).save(Path(given["pictures"][0]) / f"{name}.png")
    build(recipe("scene_text", given), out)
    assert (out / "manifest.json").read_bytes() != before


def test_the_same_bytes_from_any_folder_and_worker(given: dict[str, Any], tmp_path: Path) -> None:
    """Paths are not data: moved files and two workers give an equal manifest."""
    build(recipe("scene_text", given), tmp_path / "one")
    moved = tmp_path / "elsewhere"
    (tmp_path / "given").rename(moved)
    again = json.loads(json.dumps(given).replace(str(tmp_path / "given"), str(moved)))
    build(recipe("scene_text", again), tmp_path / "two", workers=2)
    first, second = ((tmp_path / name / "manifest.json").read_bytes() for name in ("one", "two"))
    assert first == second


def test_another_version_of_a_font_is_another_corpus(given: dict[str, Any], tmp_path: Path) -> None:
    """The manifest names each font with version and digest; a new version changes it, also in place."""
    out = tmp_path / "out"
    build(recipe("ocr", given), out)
    before = json.loads((out / "manifest.json").read_text())
    (name,) = before["fonts"]
    assert name.startswith("Test ")
    assert "1.5 (" in name
    font(Path(given["fonts"]) / "made.ttf", version="2.0")
    _, heard = build(recipe("ocr", given), out)
    after = json.loads((out / "manifest.json").read_text())
    assert heard.ran["render"] == 1
    assert "2.0 (" in after["fonts"][0]
    assert after != before
    assert after["fonts"][0].partition("(")[2] != name.partition("(")[2]


def test_each_source_has_pages_of_its_own(given: dict[str, Any], tmp_path: Path) -> None:
    """Two sources of equal settings, one of them held out, share no page."""
    made = recipe("scene_text", given)
    (source,) = made["sources"]
    made["sources"] = [source, {**source, "id": "heldout", "role": "eval"}]
    build(made, tmp_path / "out")
    found = samples(tmp_path / "out")
    pictures = {
        one: {each.images[0].sha256 for each in found if each.source == one} for one in ("made", "heldout")
    }
    assert all(pictures.values())
    assert not pictures["made"] & pictures["heldout"]


def test_more_pages_leave_the_first_ones_alone(given: dict[str, Any], tmp_path: Path) -> None:
    """Raising the count keeps the keys that were there."""
    build(recipe("scene_text", given), tmp_path / "few")
    build(recipe("scene_text", {**given, "count": 3}), tmp_path / "more")
    few, more = ({one.key for one in samples(tmp_path / name)} for name in ("few", "more"))
    assert len(few) == 2
    assert few < more


def test_no_font_for_a_script_is_one_sentence_from_a_recipe(given: dict[str, Any], tmp_path: Path) -> None:
    """The script and what to install are named before a page is made."""
    wanted = {**recipe("ocr", {**given, "texts": []}), "languages": ["zh"]}
    with pytest.raises(InputError, match=r"none of 1 fonts can write Han.*apt-get install fonts-noto-cjk"):
        build(wanted, tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--language", "zh"), "none of 1 fonts can write Han, the script of language zh: apt-get install"),
        (("--language", "tlh"), "'tlh' is no language that is known"),
        (("--language", "de"), "no text for language de: give text files"),
        (("--language", "en", "--text", "{junk}"), "junk.txt: no text of language en"),
        (("--language", "en", "--text", "{none}"), "there is no text in"),
        (("--language", "en", "--pictures", "{junk}"), "no picture"),
        (("--language", "en", "--level", "page"), "level"),
        (("--language", "en", "--scene-text", "--direction", "vertical"), "direction vertical is for pages"),
        (("--language", "en", "--fonts", "{missing}"), "is no folder of fonts"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(
    given: dict[str, Any], tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    """`vlcorpus synth ocr` ends with exit code 1 and one error that names what is missing."""
    (tmp_path / "junk.txt").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "none.txt").write_text(" \n\n")
    places = {
        "{junk}": tmp_path / "junk.txt",
        "{none}": tmp_path / "none.txt",
        "{missing}": tmp_path / "missing",
    }
    arguments = [str(places.get(one, one)) for one in ("--fonts", given["fonts"], *more)]
    common = ("--out", tmp_path / "out", "--n", "1", "--engine", "inline")
    done = run_inline("synth", "ocr", *common, *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("error: ") == 1, done.stderr
    assert said in " ".join(done.stderr.split()), done.stderr


def test_pictures_and_texts_are_for_what_is_made() -> None:
    """A character level for documents is refused by name."""
    source = {"id": "a", "kind": "rendered", "format": "pdf", "path": "x", "render": {"level": "character"}}
    with pytest.raises(RecipeError, match=r"render\.level: Input should be 'line' or 'word'"):
        load({"sources": [source]})
