"""filters/extra.py: columns that came with the data."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.extra import RULE, ColumnRules, number
from filters.rules import detail, failures
from filters.table import RuleSettings


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, 0.5), (3, 3.0), ("0.31", 0.31), (" 1e-2 ", 0.01), (None, None), ("", None), ("n/a", None),
        (True, None), ("nan", None), ("inf", None), ({"score": 1}, None), (10**400, None), ("28%", None),
    ],
)  # fmt: skip
def test_a_number_is_read_from_text_too(value: object, expected: float | None) -> None:
    """What is no finite number is none: null, booleans, words, structs, percent signs."""
    assert number(value) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_the_one_that_its_text_says(value: float) -> None:
    """A CSV, where all is text, gives the numbers that JSON gives."""
    assert number(repr(value)) == number(value) == value


@pytest.mark.parametrize(
    ("limit", "passes", "fails"),
    [
        ({"max": 0.5}, [0.5, "0.5", -3, "1e-9"], [0.51, "0.6", None, "high", True, {"a": 1}]),
        ({"min": 4.5, "max": 6}, [4.5, "6"], [4.4, "6.1", None]),
        ({"min": 4.5, "missing": "keep"}, [5, None, "none"], [4]),
        ({"not_in": ["advert", "meme"]}, ["photo", "Advert", 3, False], ["advert", "meme", None]),
        ({"in": ["photo", 2, True]}, ["photo", 2, "2", 2.0, True, "true", "True"], ["x", 1, "1", False, None, []]),
        ({"in": [1]}, [1, "1", 1.0], [True, "true"]),
        ({"not_in": [False], "missing": "keep"}, [True, "yes", 0, None], [False, "false"]),
        ({"missing": "drop"}, [0, "", False], [None]),
    ],
)  # fmt: skip
def test_a_column_passes_or_fails(limit: dict[str, Any], passes: list[object], fails: list[object]) -> None:
    """Ranges take numbers, lists take any scalar, equal whether text or not; null goes by its setting."""
    made = ColumnRules.model_validate({"x": limit})
    extras = pa.array([None if value is None else _extra(value) for value in [*passes, *fails]], pa.string())
    assert RULE.fails is not None
    [(name, found)] = RULE.fails({"extra": extras}, made, ()).items()
    assert name == "x"
    assert found.tolist() == [False] * len(passes) + [True] * len(fails)


def _extra(value: object) -> str:
    import json

    return json.dumps({"x": value, "other": 1})


def test_each_column_is_a_rule_with_its_reason_and_its_value() -> None:
    """Columns come after all other rules on a row's own signals, in the order of the recipe."""
    rules = RuleSettings.model_validate(
        {"columns": {"punsafe": {"max": 0.5}, "style": {"not_in": ["advert"]}, "off": False}}
    )
    extras = [
        '{"punsafe": "0.7", "style": "advert"}',
        '{"punsafe": 0.1, "style": "photo"}',
        '{"style": "advert"}',
    ]
    signals = pa.table({"caption": pa.array(["", "a", "a"]), "extra": pa.array(extras)})
    failed = failures(signals, rules, ())
    assert failed.to_pylist() == [
        ["no_caption", "columns.punsafe", "columns.style"],
        [],
        ["columns.punsafe", "columns.style"],
    ]
    assert detail(signals, failed, rules).to_pylist() == [None, None, "punsafe null"]
