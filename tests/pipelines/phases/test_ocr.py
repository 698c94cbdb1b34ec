"""Text in pictures as a signal, a rule, and a mask of the CLIP score, through all phases."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from filters.text_area import LIBRARIES, reader_versions
from pipelines.recipe.model import Recipe
from schemas.errors import InputError
from tests.pipelines.building import build, rows, table

pytest.importorskip("rapidocr", reason="text in pictures is found by rapidocr")

RULES: dict[str, Any] = {"rules": {"text_area": {"max": 0.05, "repeats": 0.6}, "language": False}}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures with captions: a poster that its caption repeats, one it describes, and a plain field."""
    folder = tmp_path_factory.mktemp("posters")
    said = {
        "repeated": "Summer sale starts on Monday morning",
        "described": "A yellow poster for a shop window",
        "plain": "A blue field below a bright sky",
    }
    for name in said:
        image = Image.new("RGB", (480, 320), {"plain": (70, 110, 200)}.get(name, (240, 210, 60)))
        pen = ImageDraw.Draw(image)
        if name == "plain":
            pen.rectangle((0, 0, 480, 120), (200, 220, 255))
        else:
            pen.text((30, 60), "SUMMER SALE\nstarts on Monday", (20, 20, 20), ImageFont.load_default(48))
        if name == "described":
            pen.rectangle((0, 260, 480, 320), (180, 90, 20))
        image.save(folder / f"{name}.jpg", quality=95)
    lines = [json.dumps({"image": f"{name}.jpg", "caption": caption}) for name, caption in said.items()]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


def recipe(folder: Path, **more: Any) -> dict[str, Any]:
    """A recipe over the posters."""
    return {"languages": ["en"], "sources": [{"id": "web", "path": str(folder), "kind": "folder"}], **more}


def test_a_poster_that_its_caption_repeats_is_dropped(pictures: Path, tmp_path: Path) -> None:
    """Area and repetition are measured; the rule needs both, and says both."""
    out = tmp_path / "out"
    build(recipe(pictures, signals={"text": {}}, **RULES), out)
    found = {row["member"]: row for row in rows(out, "signals")}
    assert found["plain"]["text_area"] == 0
    assert found["plain"]["text_repeats"] == 0
    for name in ("repeated", "described"):
        assert 0.1 < found[name]["text_area"] < 0.6
    assert found["repeated"]["text_repeats"] >= 0.6
    assert found["described"]["text_repeats"] < 0.3
    decided = {row["member"]: row for row in rows(out, "decisions")}
    assert decided["repeated"]["reason"] == "text_area"
    assert decided["repeated"]["detail"].startswith("text_area 0.")
    assert decided["repeated"]["detail"].endswith(" of the caption")
    assert {decided[name]["decision"] for name in ("described", "plain")} == {"kept"}
    assert "rapidocr" in (out / "manifest.json").read_text()


def test_what_a_reader_depends_on_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions, and what its folder of models holds, not where that lies; a package that is missing is told."""
    monkeypatch.setitem(LIBRARIES, "paddleocr", ("numpy",))
    for name in ("one", "two"):
        (tmp_path / name / "det").mkdir(parents=True)
        (tmp_path / name / "det" / "inference.pdiparams").write_bytes(b"weights")
    first, second = (reader_versions("paddleocr", str(tmp_path / name)) for name in ("one", "two"))
    assert first == second
    (tmp_path / "two" / "det" / "inference.pdiparams").write_bytes(b"others!")
    assert reader_versions("paddleocr", str(tmp_path / "two")) != first
    monkeypatch.setitem(LIBRARIES, "paddleocr", ("no-such-package",))
    with pytest.raises(
        InputError, match="reading text with paddleocr needs no-such-package: pip install no-such-package"
    ):
        reader_versions("paddleocr", None)


def test_nothing_is_read_unless_asked_for(pictures: Path, tmp_path: Path) -> None:
    """Without signals.text the columns are empty and the manifest names no OCR."""
    build(recipe(pictures), tmp_path / "out")
    signals = table(tmp_path / "out", "signals")
    assert signals["text_area"].null_count == signals["text_repeats"].null_count == 3
    assert "rapidocr" not in (tmp_path / "out" / "manifest.json").read_text()


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"rules": {"text_area": {"max": 0.1}}}, "rule of source 'web' has nothing to go by: add signals"),
        ({"clip": {"mask_text": True}}, "mask_text needs to know how text is found: add signals"),
    ],
)
def test_a_wish_without_the_signal_is_refused(wanted: dict[str, Any], said: str) -> None:
    """The rule, and the masked score, say what they need."""
    with pytest.raises(ValueError, match=said):
        Recipe.model_validate(recipe(Path("x"), **wanted))


def test_clip_scores_pictures_without_their_text(pictures: Path, tmp_path: Path) -> None:
    """With mask_text a poster's score moves, a plain picture's stays, and the scorer's name says so."""
    off = dict.fromkeys(("language", "phash", "blank"), False)
    small = {"scorers": {"default": {"model": "embedded", "batch_size": 4}}}
    scored = {}
    for name, mask in (("seen", False), ("hidden", True)):
        wanted = recipe(pictures, signals={"text": {}}, clip={"mask_text": mask, **small}, rules=off)
        build(wanted, tmp_path / "out", until="score")
        scored[name] = {row["member"]: row for row in rows(tmp_path / "out", "scores")}
    assert {row["scorer"].endswith(" (text masked)") for row in scored["hidden"].values()} == {True}
    assert not any("masked" in row["scorer"] for row in scored["seen"].values())
    moved = {
        name: abs(row["clip_score"] - scored["hidden"][name]["clip_score"])
        for name, row in scored["seen"].items()
    }
    assert moved["plain"] < 1e-4
    assert moved["repeated"] > 1e-3
