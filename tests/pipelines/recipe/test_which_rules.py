"""Which rules apply to which source, through dedup, select and whole builds."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.recipe.model import Recipe
from schemas.manifest import load
from schemas.sample import Example
from tests.pipelines.building import build, rows
from tests.pipelines.phases.test_evaluation import Row, coco, decided, noisy, pairs
from tests.pipelines.phases.test_render import samples

KINDS = ("exact", "pixels", "phash")


@st.composite
def corpora(draw: st.DrawFn) -> list[Row]:
    """Sound rows of two sets of annotations and of pairs, with many images in common."""
    shown = st.sampled_from([(1, 1, 0), (2, 1, 0), (3, 3, 0b11), (4, 4, 2**64 - 1)])
    found = []
    for number in range(draw(st.integers(2, 24))):
        sha256, pixels, phash = draw(shown)
        found.append(
            Row(
                source=draw(st.sampled_from(["web", "boxes", "questions"])),
                member=f"{number:03d}",
                key=number + 1,
                sha256=sha256,
                pixels=pixels,
                phash=phash,
                split="train",
                language=draw(st.sampled_from(["en", "zh"])),
                side=draw(st.sampled_from([300, 400])),
                error=None,
            )
        )
    return found


def recipe_of(order: list[str], captions: str, named: bool) -> Recipe:
    """Two annotation sources, which name the duplicate rules or do not, and one of pairs."""
    own = dict.fromkeys(KINDS, True) if named else {}
    annotated = {"kind": "annotations", "format": "coco_captions", "path": "c.json", "rules": own}
    sources = {"web": {"path": "web"}, "boxes": annotated, "questions": annotated}
    return Recipe.model_validate(
        {"captions": captions, "sources": [{"id": one, **sources[one]} for one in order]}
    )


@settings(max_examples=40)
@given(
    corpus=corpora(),
    order=st.permutations(["web", "boxes", "questions"]),
    captions=st.sampled_from(["one_per_language", "longest", "all"]),
    named=st.booleans(),
    partitions=st.integers(1, 4),
)
def test_rows_of_one_annotation_source_never_compete(
    corpus: list[Row], order: list[str], captions: str, named: bool, partitions: int
) -> None:
    """Annotations lose to other sources alone, and only where they name the rule; of the first source none is lost."""
    found, _ = decided(recipe_of(order, captions, named), corpus, partitions)
    by_key = {f"{row.key:032x}": row for row in corpus}
    for row in corpus:
        decision = found[row.member]
        if decision["decision"] == "kept":
            continue
        assert decision["reason"] in KINDS
        assert named or row.source == "web"
        keeper = row
        while found[keeper.member]["decision"] != "kept":
            # the winner among equal bytes may lose to a better image of the same look
            keeper = by_key[found[keeper.member]["detail"].split()[1].rstrip(",")]
        if row.source != "web":
            assert keeper.source != row.source
            assert order.index(keeper.source) < order.index(row.source)


def test_two_captions_of_one_image_stay_where_duplicates_of_other_sources_go(tmp_path: Path) -> None:
    """An annotation set that names `exact` keeps both records of an image, and takes the pair of that image away."""
    boxes = coco(tmp_path / "boxes", [noisy(2), noisy(2), noisy(3)])
    web = pairs(tmp_path / "web", [noisy(2), noisy(7)], "A photograph of {} flowers, number {}")
    sources = [{"id": "boxes", "rules": {"exact": True}, **boxes}, {"id": "web", "path": web}]
    build({"sources": sources}, tmp_path / "out")
    found = {(row["source"], row["member"]): row["reason"] for row in rows(tmp_path / "out", "decisions")}
    assert [found["boxes", member] for member in ("0", "1", "2")] == [None, None, None]
    assert sorted(str(reason) for (source, _), reason in found.items() if source == "web") == [
        "None",
        "exact",
    ]


def test_languages_and_image_rules_hold_for_every_kind(tmp_path: Path) -> None:
    """English records, small images and flat ones go, each by its rule, in sources of every kind."""
    lines = [
        {"caption": "这是一段很长的中文句子，描述花园"},
        {"caption": "A long sentence that is plainly English"},
    ]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scenes = {"kind": "rendered", "format": "scenes", "render": {"count": 2, "side": 96}}
    sources = [
        {"id": "text", "kind": "text", "path": str(tmp_path / "text.jsonl")},
        {"id": "boxes", **coco(tmp_path / "boxes", [noisy(2), noisy(3)])},
        {"id": "scenes", **scenes},
        {"id": "exempt", **scenes, "rules": {"min_side": False}},
    ]
    recipe = {"languages": ["zh"], "rules": {"min_side": {"pixels": 230}}, "sources": sources}
    build(recipe, tmp_path / "out")
    found: dict[str, list[Any]] = {}
    for row in rows(tmp_path / "out", "decisions"):
        found.setdefault(row["source"], []).append(row["failed"])
    assert found == {
        "text": [[], ["language"]],
        "boxes": [["language", "min_side"]] * 2,
        "scenes": [["min_side"]] * 2,
        "exempt": [[]] * 2,
    }


def test_what_applies_is_said_at_the_start_and_in_the_card(tmp_path: Path) -> None:
    """One line a source names its rules, in the log and in the card; a rule that cannot apply is in neither."""
    lines = [{"caption": f"这是第{number}段很长的中文句子，描述花园"} for number in range(3)]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    web = pairs(tmp_path / "web", [noisy(1)], "A photograph of {} flowers, number {}")
    sources = [
        {"id": "text", "kind": "text", "path": str(tmp_path / "text.jsonl"), "rules": {"emoji": True}},
        {"id": "boxes", "role": "eval", **coco(tmp_path / "boxes", [noisy(2)])},
        {"id": "web", "path": web, "languages": []},
    ]
    _, heard = build({"languages": ["zh", "en"], "sources": sources}, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text().replace("\\", "")
    guard = "evaluation images are protected"
    expected = {
        "text": f"rules that apply: no_caption, emoji, language, repeat; languages: zh, en; {guard}",
        "boxes": "rules that apply: language, aspect_ratio, min_side, blank, repeat; languages: zh, en; "
        + guard,
        "web": "rules that apply: no_caption, special_tag, damaged_text, pattern, caption_length, emoji, aspect_ratio, "
        f"min_side, blank, repeat, exact, pixels, phash; {guard}",
    }
    assert heard.said[:3] == [f"source {name}: {line}" for name, line in expected.items()]
    for name, line in expected.items():
        assert f"### {name}\n\nR{line[1:]}.\n" in card
    told = load((tmp_path / "out" / "manifest.json").read_bytes()).thresholds
    assert [told[name]["no_caption"] is False for name in expected] == [False, True, False]


def test_annotations_beside_scored_pairs_are_not_scored(tmp_path: Path) -> None:
    """A recipe's scorers judge pairs: annotations need no image read for them, and keep their samples."""
    web = pairs(tmp_path / "web", [noisy(1)], "A photograph of {} flowers, number {}")
    sources = [{"id": "boxes", **coco(tmp_path / "boxes", [noisy(2)])}, {"id": "web", "path": web}]
    scorers = {"allow_embedded": True, "scorers": {"default": {"model": "embedded"}}}
    build({"clip": scorers, "rules": {"clip": {"min": -1}}, "sources": sources}, tmp_path / "out")
    made: list[Example] = samples(tmp_path / "out")
    assert {one.source for one in made} == {"boxes", "web"}
    assert {row["source"] for row in rows(tmp_path / "out", "scores")} == {"web"}
