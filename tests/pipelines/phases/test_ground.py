"""Phase ground: raw pairs become grounding tuples, once, and thresholds move without detecting again."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from filters.detect import iou
from pipelines.audit.verify import verify
from pipelines.recipe.parse import parse
from pipelines.show import inspect
from schemas.errors import ModelError, RecipeError
from schemas.sample import Example, Phrase, Text
from tests.pipelines.building import build, rows
from tests.pipelines.raw import add

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 60, 220), "yellow": (240, 220, 40)}
PLACES = {
    "red": (20, 30, 90, 80),
    "green": (130, 20, 230, 90),
    "blue": (30, 120, 110, 210),
    "yellow": (140, 110, 220, 200),
}


def scene(number: int, colours: list[str]) -> bytes:
    """A picture with one rectangle of each colour, moved a little by number."""
    picture = Image.new("RGB", (256, 224), (200 + number % 40, 200, 205))
    draw = ImageDraw.Draw(picture)
    for colour in colours:
        x1, y1, x2, y2 = PLACES[colour]
        draw.rectangle((x1 + number % 9, y1, x2 + number % 9 - 1, y2 - 1 + number % 5), COLOURS[colour])
    for at in range(number):
        draw.point((3 + 2 * at % 250, 3 + at), (0, 0, 0))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


PAIRS = [
    ("A red box stands near the green box in the hall.", ["red", "green"]),
    ("The blue card lies on the table with a yellow card.", ["blue", "yellow"]),
    ("A photograph of nothing in particular, taken late at night.", ["red"]),
    ("Two cards, a blue one and a red one, on some wide shelf.", ["red", "blue"]),
    ("一个红色的盒子在绿色的盒子旁边，光线很好。", ["red", "green"]),
]


def pairs(path: Path, numbers: range) -> Path:
    """A tar of pairs whose captions name what is drawn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            caption, colours = PAIRS[number % len(PAIRS)]
            add(tar, f"{number:05d}.png", scene(number, colours))
            add(tar, f"{number:05d}.txt", f"{caption}".encode())
            add(tar, f"{number:05d}.json", json.dumps({"url": f"https://example.org/{number}"}).encode())
    return path


def recipe(path: Path, detector: dict[str, Any] | None = None, **ground: Any) -> dict[str, Any]:
    """A recipe of one source that is grounded."""
    wanted = {
        "detector": {"model": "colours", "threshold": 0.6, **(detector or {})},
        "chunker": "rules",
        **ground,
    }
    rules = {"phash": False, "pixels": False, "exact": False}
    return {
        "languages": ["en", "zh"],
        "rules": rules,
        "sources": [{"id": "web", "path": str(path), "ground": wanted}],
    }


def samples(out: Path, task: str | None = None) -> list[Example]:
    """All views of a corpus, or those of one task."""
    paths = sorted(map(str, out.glob("shards/*/*/*/*.parquet")))
    whole = [
        shown.sample for path in paths for shown in inspect.samples(path, None) if shown.sample is not None
    ]
    return [one for sample in whole for one in sample.examples if task in (None, one.task)]


def test_what_a_caption_names_is_boxed_where_it_is(tmp_path: Path) -> None:
    """Each phrase with a colour gets the box of that colour; the text is the caption; all views agree."""
    pairs(tmp_path / "in" / "a.tar", range(20))
    results, _ = build(recipe(tmp_path / "in"), tmp_path / "out")
    found = samples(tmp_path / "out", "grounding")
    assert len(found) == 12
    captions = {caption for caption, _ in PAIRS}
    for sample in found:
        assert sample.text in captions
        for phrase in (one for one in sample.turns[0].segments if isinstance(one, Phrase)):
            (colour,) = [name for name in COLOURS if name in phrase.phrase.split()]
            (box,) = phrase.boxes
            assert iou(box, [PLACES[colour]])[0] > 0.75
            assert 0 <= box[0] < box[2] <= 256
            assert 0 <= box[1] < box[3] <= 224
            assert phrase.supervised
        assert all(one.supervised for one in sample.turns[0].segments if isinstance(one, Text))
    views = {
        task: {one.text for one in samples(tmp_path / "out", task)}
        for task in ("referring", "grounded_caption")
    }
    assert views["referring"] == views["grounded_caption"]
    assert len(samples(tmp_path / "out", "caption")) == 20
    assert verify(str(tmp_path / "out")) == []
    assert results["ground"]["web", "a"]["rows"] == 16


def test_every_pair_that_is_looked_at_has_a_row(tmp_path: Path) -> None:
    """work/grounded has one row for each kept English pair, boxes or none, with key and detector."""
    pairs(tmp_path / "in" / "a.tar", range(10))
    build(recipe(tmp_path / "in"), tmp_path / "out", until="ground")
    looked = rows(tmp_path / "out", "grounded")
    kept = {
        row["member"]
        for row, decision in zip(
            rows(tmp_path / "out", "signals"), rows(tmp_path / "out", "decisions"), strict=True
        )
        if decision["decision"] == "kept" and row["language"] == "en"
    }
    assert {row["member"] for row in looked} == kept
    assert {bool(row["scores"]) for row in looked} == {True, False}
    assert {row["detector"] for row in looked} == {"colours 1"}


def test_chinese_captions_are_grounded_where_asked(tmp_path: Path) -> None:
    """languages: [zh] grounds Chinese captions alone, by their own chunks."""
    pairs(tmp_path / "in" / "a.tar", range(10))
    build(recipe(tmp_path / "in", languages=["zh"]), tmp_path / "out")
    found = samples(tmp_path / "out", "grounding")
    assert len(found) == 2
    phrases = [one.phrase for one in found[0].turns[0].segments if isinstance(one, Phrase)]
    assert phrases == ["一个红色的盒子", "绿色的盒子"]
    assert found[0].language == "zh"


def test_a_threshold_moves_without_detecting_again(tmp_path: Path) -> None:
    """Compose runs anew, ground does not; and a row that a rule let back in is the only one detected."""
    pairs(tmp_path / "in" / "a.tar", range(20))
    out = tmp_path / "out"
    build(recipe(tmp_path / "in"), out)
    _, heard = build(recipe(tmp_path / "in", {"threshold": 1.0}), out)
    assert heard.ran["ground"] == 0
    assert heard.ran["compose"] == 1
    _, heard = build(recipe(tmp_path / "in", {"threshold": 1.0}), out)
    assert heard.ran["ground"] == heard.ran["compose"] == heard.ran["shard"] == 0
    stricter = recipe(tmp_path / "in") | {"languages": ["zh"]}
    build(stricter, out)
    results, heard = build(recipe(tmp_path / "in"), out)
    assert heard.ran["ground"] == 1
    assert results["ground"]["web", "a"]["grounded"] == 0


def test_another_detector_or_chunker_detects_again(tmp_path: Path) -> None:
    """What a row's boxes depend on is part of the fingerprint."""
    pairs(tmp_path / "in" / "a.tar", range(5))
    build(recipe(tmp_path / "in"), tmp_path / "out", until="ground")
    results, heard = build(recipe(tmp_path / "in", max_chunks=1), tmp_path / "out", until="ground")
    assert heard.ran["ground"] == 1
    assert results["ground"]["web", "a"]["grounded"] == 4


def test_workers_and_order_change_no_byte(tmp_path: Path) -> None:
    """The caller's process and two workers write equal manifests."""
    for name, numbers in (("a", range(5)), ("b", range(5, 10)), ("c", range(10, 15))):
        pairs(tmp_path / "in" / f"{name}.tar", numbers)
    told = recipe(tmp_path / "in") | {"chat": {"localise": 0.7, "join": 2}}
    build(told, tmp_path / "one")
    build(told, tmp_path / "two", workers=2)
    assert (tmp_path / "one" / "manifest.json").read_bytes() == (
        tmp_path / "two" / "manifest.json"
    ).read_bytes()


def test_the_manifest_names_the_detector_but_not_its_place(tmp_path: Path) -> None:
    """Equal weights in two folders give equal manifests; the detector goes by its digest."""
    pytest.importorskip("transformers")
    from tests.filters.detectors import save

    pairs(tmp_path / "in" / "a.tar", range(5))
    manifests = []
    for name in ("here", "there"):
        model = save("owlv2", tmp_path / name)
        low = {"model": str(model), "threshold": 0.5, "per_phrase": 3}
        build(recipe(tmp_path / "in", low), tmp_path / f"out-{name}")
        manifests.append((tmp_path / f"out-{name}" / "manifest.json").read_bytes())
    assert manifests[0] == manifests[1]
    assert json.loads(manifests[0])["versions"]["detector of web"].startswith("local@")
    found = samples(tmp_path / "out-here", "grounding")
    assert found
    assert all(sample.text in {caption for caption, _ in PAIRS} for sample in found)


def test_a_detector_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """A missing checkpoint ends the run with what to do."""
    pairs(tmp_path / "in" / "a.tar", range(5))
    with pytest.raises(ModelError, match="no detector at /nowhere") as caught:
        build(recipe(tmp_path / "in", {"model": "/nowhere/owl"}), tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_missing_pipeline_is_one_sentence(tmp_path: Path) -> None:
    """chunker: spacy without spaCy, or without the pipeline, names the remedy."""
    pairs(tmp_path / "in" / "a.tar", range(5))
    asked = recipe(tmp_path / "in", chunker="spacy", pipelines={"en": "no_such_pipeline"})
    with pytest.raises(ModelError, match="chunker: rules"):
        build(asked, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{id: a, path: x, ground: {detector: {model: m, threshold: 0.01}}}", "below floor"),
        ("{id: a, path: x, ground: {chunker: rules}}", "ground.detector is missing"),
        ("{id: a, path: x, kind: text, ground: {detector: {model: m}}}", "not for kind: text"),
        ("{id: a, path: x, ground: {detector: {model: m}, chunker: nltk}}", "chunker"),
        ("{id: a, path: x, chat: {localise: 2}}", "localise"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_line(text: str, said: str) -> None:
    """Settings of grounding and dialogues are checked before any work."""
    with pytest.raises(RecipeError, match=said) as caught:
        parse(f"sources:\n- {text}\n", "r.yaml")
    assert str(caught.value).startswith("r.yaml:2: ")
