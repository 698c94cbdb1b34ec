"""filters/rules.py."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.rules import columns, dedup_language, detail, failures
from filters.table import SIGNALS, RuleSettings
from tests.filters.captions import measured

SOUND: dict[str, Any] = {
    "caption": "A dog runs on the beach", "caption_chars": 23, "caption_words": 6, "caption_han": 0,
    "emoji": 0, "letters": 18, "scripts": [{"script": "Latin", "letters": 18}], "language": "en",
    "language_score": 0.9, "width": 640, "height": 480, "aspect_ratio": 1.3333, "orientation": 1,
    "grey_range": 255, "grey_std": 40.0,
}  # fmt: skip
LANGUAGES = ("en", "zh")


def table(*changes: dict[str, Any]) -> pa.Table:
    """Signals of rows that pass everything, but for the changes."""
    return pa.Table.from_pylist([SOUND | change for change in changes], schema=SIGNALS)


def failed(
    change: dict[str, Any], rules: dict[str, Any] | None = None, languages: Any = LANGUAGES
) -> list[str]:
    """The rules that one row fails."""
    [names] = failures(table(change), RuleSettings.model_validate(rules or {}), languages).to_pylist()
    return list(names)


def scripts(**letters: int) -> dict[str, Any]:
    """The scripts column of one row."""
    return {"scripts": [{"script": name, "letters": count} for name, count in letters.items()]}


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({}, []),
        ({"caption": None}, ["no_caption"]),
        ({"caption": "", "caption_chars": 0}, ["no_caption", "caption_length"]),
        ({"special_tag": "<PERSON>"}, ["special_tag"]),
        ({"damage": "lost_characters"}, ["damaged_text"]),
        ({"pattern": "url"}, ["pattern"]),
        ({"caption_chars": 5}, []),
        ({"caption_chars": 4}, ["caption_length"]),
        ({"caption_chars": 3, "caption_han": 3}, []),
        ({"caption_chars": 4, "caption_han": 2}, ["caption_length"]),
        ({"caption_chars": 1000}, []),
        ({"caption_chars": 1001, "caption_han": 1001}, ["caption_length"]),
        (scripts(Latin=18, Greek=2), []),
        (scripts(Latin=17, Greek=3), ["script"]),
        (scripts(Cyrillic=18) | {"language": "ru"}, ["script", "language"]),
        ({"emoji": 1}, ["emoji"]),
        ({"language": "vi"}, ["language"]),
        ({"language": "it", "language_score": 0.49}, []),
        ({"language": "und", "language_score": 0.0}, []),
        (scripts(Latin=16, Greek=1) | {"language": "und"}, ["language"]),
        ({"aspect_ratio": 3.0}, []),
        ({"aspect_ratio": 3.01}, ["aspect_ratio"]),
        ({"width": 200, "height": 200}, []),
        ({"height": 199}, ["min_side"]),
        ({"grey_std": 0.5, "grey_range": 10}, ["blank"]),
        ({"grey_std": 0.5, "grey_range": 64}, []),
        ({"orientation": 6}, []),
        ({"pattern": "url", "emoji": 2, "width": 50}, ["pattern", "emoji", "min_side"]),
    ],
)
def test_each_rule_fails_beyond_its_default_limit(change: dict[str, Any], rules: list[str]) -> None:
    """The defaults of the design, at and beyond their limits; all failed rules, in rule order."""
    assert failed(change) == rules


@pytest.mark.parametrize(
    ("change", "rules", "names"),
    [
        ({"emoji": 3}, {"emoji": False}, []),
        ({"emoji": 3}, {"emoji": {"max": 3}}, []),
        ({"pattern": "date"}, {"pattern": {"allow": ["date"]}}, []),
        ({"caption_words": 6}, {"caption_length": {"min_words": 7}}, ["caption_length"]),
        ({"caption_words": 6}, {"caption_length": {"max_words": 5}}, ["caption_length"]),
        (scripts(Latin=9, Thai=9), {"script": {"scripts": ["Latin", "Thai"]}}, []),
        ({"language": "und"}, {"language": {"undetermined": "drop"}}, ["language"]),
        (scripts(Thai=9) | {"language": "und"}, {"language": {"undetermined": "keep"}, "script": False}, []),
        ({"language": "it", "language_score": 0.4}, {"language": {"min_score": 0.3}}, ["language"]),
        ({"orientation": 6}, {"orientation": True}, ["orientation"]),
        ({"aspect_ratio": 4}, {"aspect_ratio": {"max": 5}}, []),
        ({"text_area": 0.5, "text_repeats": 0.9}, {}, []),
        ({"text_area": 0.21, "text_repeats": 0.5}, {"text_area": True}, ["text_area"]),
        ({"text_area": 0.2, "text_repeats": 0.5}, {"text_area": True}, []),
        ({"text_area": 0.21, "text_repeats": 0.49}, {"text_area": True}, []),
        ({"text_area": 0.11, "text_repeats": 0.0}, {"text_area": {"max": 0.1, "repeats": 0}}, ["text_area"]),
        ({"text_repeats": 1.0}, {"text_area": {"max": 0}}, []),
    ],
)
def test_settings_move_or_lift_a_limit(
    change: dict[str, Any], rules: dict[str, Any], names: list[str]
) -> None:
    """What the recipe sets is what is judged."""
    assert failed(change, rules) == names


@pytest.mark.parametrize(
    ("caption", "language", "names"),
    [
        ("宝马X5停在路边", "zh", []),
        ("USB充电器的照片", "zh", []),
        ("红色连衣裙 Samsung Galaxy", "zh", []),
        ("红裙 Samsung Galaxy Ultra", "zh", ["script", "language"]),
        ("一只猫坐在窗台上 красивая картинка", "zh", ["script"]),
        ("Телефон Apple лежит на столе", "ru", []),
        ("A long red dress on a bed 예쁜", "en", ["script"]),
        ("β-胡萝卜素和α粒子", "zh", []),
        ("富士山", "ja", []),
        ("東京都庁", "ja", []),
        ("红色连衣裙", "ja", ["language"]),
        ("富士山", "ko", ["language"]),
        ("A red dress", "zh", ["script", "language"]),
    ],
)
def test_a_recipe_of_one_language_keeps_brands_and_signs(
    caption: str, language: str, names: list[str]
) -> None:
    """Latin brands and models pass up to half of the weighed letters; other foreign scripts do not."""
    rows = pa.table(measured([caption]))
    assert failures(rows, RuleSettings(), [language]).to_pylist() == [names]


def test_latin_letters_are_tolerated_by_setting_and_not_beside_scripts_that_are_named() -> None:
    """`latin: 0` and a list of scripts leave the tolerance alone in force."""
    rows = pa.table(measured(["宝马X5停在路边的照片 BMW"]))
    for block in ({"latin": 0}, {"scripts": ["Han"]}):
        rules = RuleSettings.model_validate({"script": block})
        assert failures(rows, rules, ["zh"]).to_pylist() == [["script"]]


@pytest.mark.parametrize(
    ("caption", "block", "names"),
    [
        ("木耳", {}, []),
        ("木耳", {"min_han": 3}, ["caption_length"]),
        ("木耳", {"min_han": 2}, []),
        ("富士山", {"min_han": 4}, ["caption_length"]),
        ("고양이", {}, []),
        ("고양이", {"min_letters": {}}, ["caption_length"]),
        ("cat", {}, ["caption_length"]),
        ("cat", {"min_letters": {"Latin": 3}}, []),
    ],
)
def test_short_captions_pass_by_script(caption: str, block: dict[str, Any], names: list[str]) -> None:
    """`min_han` means what it always has, `min_letters` is for the other scripts."""
    rules = RuleSettings.model_validate({"caption_length": block})
    assert failures(pa.table(measured([caption])), rules, ()).to_pylist() == [names]


def test_without_languages_every_language_and_script_passes() -> None:
    """An empty list allows all."""
    assert failed(scripts(Cyrillic=20) | {"language": "ru"}, languages=()) == []


def test_languages_may_carry_a_region() -> None:
    """`zh-TW` allows Chinese, and Norwegian its two forms."""
    assert failed(scripts(Han=9) | {"language": "zh"}, languages=("zh-TW",)) == []
    assert failed({"language": "nn"}, languages=("no",)) == []


def test_what_was_not_measured_fails_nothing() -> None:
    """A row of nulls fails no_caption alone, and so does a table without the columns."""
    nulls = pa.Table.from_pylist([dict.fromkeys(SIGNALS.names)], schema=SIGNALS)
    assert failures(nulls, RuleSettings(), LANGUAGES).to_pylist() == [["no_caption"]]
    text = pa.table({"caption": ["A dog runs on the beach"]})
    assert failures(text, RuleSettings(), LANGUAGES).to_pylist() == [[]]


def test_every_rule_answers_true_or_false_for_chunks_and_batches() -> None:
    """One answer a row, whatever holds the columns; null is no failure."""
    rules = RuleSettings.model_validate({"orientation": True, "text_area": True})
    chunks = pa.concat_tables([table({}, {"emoji": 1}), table({"width": None, "language": None})])
    for rule in RuleSettings.table:
        if rule.fails is not None and (settings := getattr(rules, rule.name)):
            answers = rule.fails(columns(chunks, rule.reads), settings, LANGUAGES).to_pylist()
            assert [answer in (True, False, None) for answer in answers] == [True] * 3
    [batch] = chunks.combine_chunks().to_batches()
    assert failures(batch, rules, LANGUAGES).equals(failures(chunks, rules, LANGUAGES))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.sampled_from([{}, {"emoji": 1}, {"width": 3}, {"caption": None}, {"language": "vi"}]), max_size=6
    )
)
def test_a_row_is_judged_alone(changes: list[dict[str, Any]]) -> None:
    """The rows beside it change nothing, and no rows give no lists."""
    together = failures(table(*changes), RuleSettings(), LANGUAGES).to_pylist()
    assert together == [failed(change) for change in changes]


def test_the_detail_says_what_was_measured_and_the_limit() -> None:
    """One text a row, for the first rule that it failed; none where none failed."""
    rows = table(
        {"aspect_ratio": 4.8}, {}, {"language": "vi"}, {"pattern": "url"}, {"caption": None}, {"width": 9}
    )
    names = failures(rows, RuleSettings(), LANGUAGES)
    assert detail(rows, names, RuleSettings()).to_pylist() == [
        "aspect_ratio 4.80 > 3", None, "vi 0.90", "pattern url", None, "9 x 480 < 200",
    ]  # fmt: skip


def test_every_rule_has_words_for_why() -> None:
    """A row that fails any one rule gets a text without an error, nulls beside it included."""
    for change in ({"emoji": 2}, scripts(Thai=9), {"caption_chars": 1}, {"grey_std": 0.0, "grey_range": 0}):
        rows = table(change | {"language": None, "language_score": None})
        assert detail(rows, failures(rows, RuleSettings(), LANGUAGES), RuleSettings()).to_pylist() != [None]


def test_the_language_of_keepers_fills_in_what_is_undetermined() -> None:
    """An undetermined or foreign guess counts as the one allowed language of its script."""
    rows = table(
        {"language": "und"}, {"language": "it"}, scripts(Han=2) | {"language": "und"}, {"language": "zh"},
        scripts(Thai=2) | {"language": "und"}, {"language": None},
    )  # fmt: skip
    assert dedup_language(rows, LANGUAGES).to_pylist() == ["en", "en", "zh", "zh", "und", None]
    assert dedup_language(rows, ("en", "fr")).to_pylist()[0] == "und"
    assert dedup_language(rows, ()).to_pylist() == ["und", "it", "und", "zh", "und", None]


def test_captions_of_real_pairs_are_kept_or_dropped_by_their_language(test_data: Path) -> None:
    """With English and Chinese allowed: those kept, Vietnamese, Polish and Spanish dropped."""
    rows = set()
    with (test_data / "pairs/pairs.jsonl").open(encoding="utf-8") as file:
        for record in map(json.loads, file):
            rows |= {(record["lang"], caption) for caption in (record["caption"], *record["captions"])}
    ordered = sorted(rows)
    names = failures(
        pa.table(measured([caption for _, caption in ordered])), RuleSettings(), LANGUAGES
    ).to_pylist()
    total, dropped, language = Counter[str](), Counter[str](), Counter[str]()
    for (lang, _), failed_rules in zip(ordered, names, strict=True):
        total[lang] += 1
        dropped[lang] += bool(failed_rules)
        language[lang] += "language" in failed_rules
    assert all(language[lang] <= 0.02 * total[lang] for lang in LANGUAGES)
    assert all(dropped[lang] >= 0.95 * total[lang] for lang in ("vi", "pl", "es"))


@pytest.mark.parametrize(
    ("change", "rule", "fails"),
    [
        ({"language": "fr", "language_score": 0.6}, {"fr": 0.7}, False),
        ({"language": "fr", "language_score": 0.75}, {"fr": 0.7}, True),
        ({"language": "fr", "language_score": 0.6}, {"de": 0.7}, True),
        ({"language": "fr", "language_score": 0.4}, {"de": 0.7}, False),
        ({"language": "en", "language_score": 0.6}, {"en": 0.7}, False),
        ({"language": "nn", "language_score": 0.6}, {"no": 0.7}, False),
        ({"language": None, "language_score": None}, {"en": 0.7}, False),
    ],
)
def test_a_language_may_have_a_least_score_of_its_own(
    change: dict[str, Any], rule: dict[str, float], fails: bool
) -> None:
    """Below it the label counts as undetermined; a language without one has the default."""
    assert ("language" in failed(change, {"language": {"min_score": rule}})) == fails


def test_a_listed_language_is_undetermined_below_its_own_least_score() -> None:
    """So `undetermined: drop` drops it, as FineWeb2 does; a plain number is about other languages alone."""
    unsure = {"language": "en", "language_score": 0.6}
    assert "language" in failed(unsure, {"language": {"min_score": {"en": 0.7}, "undetermined": "drop"}})
    assert "language" not in failed(unsure, {"language": {"min_score": 0.7, "undetermined": "drop"}})


@pytest.mark.parametrize("wrong", [{"pt": 0.5, "pt-BR": 0.6}, {"english": 0.5}, {"en": 1.5}, "always", -1])
def test_least_scores_that_cannot_be_meant_are_refused(wrong: Any) -> None:
    """Two of one language, no language, no share, no number."""
    with pytest.raises(ValueError, match="min_score"):
        RuleSettings.model_validate({"language": {"min_score": wrong}})


@pytest.mark.parametrize(
    ("size", "rule", "fails"),
    [
        (4_999, True, True),
        (5_000, True, False),
        (None, True, False),
        (30_000, {"per_pixel": 0.1}, True),
        (31_000, {"per_pixel": 0.1}, False),
        (100, {"min": 0}, False),
        (1, False, False),
    ],
)
def test_an_image_of_few_bytes_fails_where_the_rule_is_on(size: int | None, rule: Any, fails: bool) -> None:
    """Of a file, or of its pixels (640 x 480)."""
    assert ("image_bytes" in failed({"byte_size": size}, {"image_bytes": rule})) == fails
