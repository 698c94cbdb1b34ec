"""The recipe's block of rules, as it follows from filters/table.py."""

from typing import Any

import pytest
from pydantic import ValidationError

from filters.corpus_rules import Clip
from filters.emoji import Emoji
from filters.extra import ColumnRules
from filters.rules import in_order
from filters.table import RuleSettings

ORDER = [
    "no_caption", "special_tag", "damaged_text", "pattern", "caption_length", "repetition",
    "special_characters", "personal_data", "script", "emoji", "language", "aspect_ratio", "min_side", "blank",
    "image_bytes", "orientation", "text_area", "columns", "clip", "repeat", "exact", "pixels", "phash",
    "semantic", "max_per_caption",
]  # fmt: skip


def test_the_fields_stand_in_rule_order() -> None:
    """The first rule failed is the reason, so the order is a contract."""
    assert list(RuleSettings.model_fields) == ORDER


@pytest.mark.parametrize("name", [name for name in ORDER if name not in ("no_caption", "repeat", "clip")])
def test_a_rule_is_switched_off_and_on(name: str) -> None:
    """`off` is False, `on` the defaults, and both survive writing and reading."""
    off = RuleSettings.model_validate({name: False})
    assert getattr(off, name) is False
    assert RuleSettings.model_validate(off.model_dump()) == off
    on = RuleSettings.model_validate({name: True})
    assert getattr(on, name) == type(getattr(on, name))()


@pytest.mark.parametrize("name", ["no_caption", "repeat"])
def test_two_rules_are_always_on(name: str) -> None:
    """A row without a caption, and a repeated row, are never kept."""
    with pytest.raises(ValidationError):
        RuleSettings.model_validate({name: False})


@pytest.mark.parametrize(
    "wrong",
    [
        {"emoji": {"maximum": 1}}, {"emojis": {}}, {"emoji": 3}, {"aspect_ratio": {"max": 0.5}},
        {"phash": {"distance": 3}}, {"phash": {"distance": 18}},
        {"clip": {"min": 0.2, "keep": 0.3}}, {"clip": True}, {"clip": {"keep": 0}},
        {"columns": {"punsafe": {}}}, {"columns": {"punsafe": {"min": 2, "max": 1}}}, {"columns": {"a": 3}},
        {"columns": {"style": {"in": []}}}, {"columns": {"style": {"maximum": 1}}},
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_at_its_key(wrong: dict[str, Any]) -> None:
    """Unknown keys, values out of range, and two ways to cut at once; the error's place is the recipe's."""
    with pytest.raises(ValidationError) as caught:
        RuleSettings.model_validate(wrong)
    [place] = {problem["loc"][0] for problem in caught.value.errors()}
    assert place == next(iter(wrong))


def test_the_place_of_an_error_has_no_parts_that_the_recipe_lacks() -> None:
    """A key inside a switched block is found by its own path."""
    with pytest.raises(ValidationError) as caught:
        RuleSettings.model_validate({"emoji": {"maximum": 1}})
    assert [problem["loc"] for problem in caught.value.errors()] == [("emoji", "maximum")]


def test_only_what_was_set_is_dumped_for_merging() -> None:
    """A source's block is laid over the recipe's, so defaults must not pretend to be set."""
    rules = RuleSettings.model_validate({"emoji": {"max": 2}, "language": True, "phash": False})
    assert rules.model_dump(exclude_unset=True) == {"emoji": {"max": 2}, "language": {}, "phash": False}
    assert rules[Emoji] == Emoji(max=2)


def test_clip_is_off_unless_it_says_where_to_cut() -> None:
    """By a least score or by a share, never both."""
    assert RuleSettings().get(Clip) is None
    assert RuleSettings.model_validate({"clip": {"keep": 0.3}}).get(Clip) == Clip(keep=0.3)


def test_the_json_schema_knows_that_rules_can_be_off() -> None:
    """Editors accept what the reader accepts."""
    emoji = RuleSettings.model_json_schema()["properties"]["emoji"]
    assert {"const": False, "type": "boolean"} in emoji["anyOf"]


def test_limits_of_columns_survive_writing_and_reading() -> None:
    """Booleans stay booleans and `in` stays `in`; a column that is off has no limit."""
    given = {"style": {"in": ["a", 1, True]}, "punsafe": {"max": 0.5, "missing": "keep"}, "other": False}
    rules = RuleSettings.model_validate({"columns": given})
    assert rules.model_dump(mode="json", exclude_unset=True) == {"columns": given}
    assert list(rules[ColumnRules].limits) == ["style", "punsafe"]


def test_reasons_stand_in_the_order_in_which_they_are_given() -> None:
    """Evaluation first, a column where `columns` stands, a missing score before the clip rule, the unknown last."""
    reasons = [
        "missing_image",
        "repeat",
        "clip",
        "unscored",
        "columns.b",
        "columns.a",
        "no_caption",
        "eval:b",
    ]
    order = ["eval:b", "no_caption", "columns.a", "columns.b", "unscored", "clip", "repeat", "missing_image"]
    assert in_order(reasons) == order
