"""filters/scripts.py."""

from collections import Counter

import pyarrow as pa
import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.scripts import SCRIPTS, SCRIPTS_OF, admitted, base, code_points, measure, scripts_of
from filters.table import SIGNALS

PROPERTIES = {name: regex.compile(rf"\p{{Script={name}}}") for name in SCRIPTS if name != "Other"}


def slowly(text: str) -> list[tuple[str, int]]:
    """The oracle: every letter asked for every script; Greek ones only where there is a Greek word."""
    counts: Counter[str] = Counter()
    if not regex.search(r"(?:\p{Script=Greek}(?<=\p{L})){3}", text):
        text = regex.sub(r"\p{Script=Greek}", "", text)
    for letter in regex.findall(r"[\p{L}〇]", text):
        own = [name for name, of_script in PROPERTIES.items() if of_script.match(letter)]
        if not own and regex.match(r"[\p{Script=Common}\p{Script=Inherited}]", letter):
            continue
        counts[own[0] if own else "Other"] += 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def counted(captions: list[str | None]) -> list[list[tuple[str, int]] | None]:
    columns = measure(pa.RecordBatch.from_pydict({"caption": pa.array(captions, pa.string())}))
    rows = columns["scripts"].to_pylist()
    assert columns["letters"].to_pylist() == [
        None if r is None else sum(o["letters"] for o in r) for r in rows
    ]
    return [None if row is None else [(one["script"], one["letters"]) for one in row] for row in rows]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=12), max_size=4))
def test_the_table_agrees_with_unicode_letter_by_letter(captions: list[str | None]) -> None:
    """A batch through the table is what the properties say of each letter."""
    assert counted(captions) == [None if text is None else slowly(text) for text in captions]


@given(
    st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=12), max_size=6), st.integers(0, 2)
)
def test_code_points_are_those_of_the_texts(captions: list[str | None], first: int) -> None:
    """One text after the other, each with a line feed at its end, also those of a slice."""
    found = code_points(pa.array(captions, pa.string()).slice(first))
    ended = [f"{text or ''}\n" for text in captions[first:]]
    assert found.points.tolist() == [ord(one) for text in ended for one in text]
    assert found.starts.tolist() == [len("".join(ended[:row])) for row in range(len(ended))]
    for chosen in (found.points < 0x80, found.points == 0xE9):
        expected = [
            sum(chosen[start : start + len(text)]) for start, text in zip(found.starts, ended, strict=True)
        ]
        assert found.counts(chosen).tolist() == expected
        rows = [row for row, count in enumerate(expected) for _ in range(count)]
        assert found.rows(chosen).tolist() == rows


@pytest.mark.parametrize(
    ("caption", "scripts"),
    [
        ("Hello", [("Latin", 5)]),
        ("naïve Łódź", [("Latin", 9)]),
        ("αβγ and 世界", [("Greek", 3), ("Latin", 3), ("Han", 2)]),
        ("αβ and 世界", [("Latin", 3), ("Han", 2)]),
        ("10 kΩ, 5 μm, Δt", [("Latin", 3)]),
        ("το ένα και α", [("Greek", 9)]),
        ("犬がいる カメラー", [("Hiragana", 3), ("Katakana", 3), ("Han", 1)]),
        ("5 µm, 30 %, 𝑥 ™ ½", [("Latin", 1)]),
        ("한국어", [("Hangul", 3)]),
        ("", []),
        ("123 !?", []),
    ],
)
def test_letters_count_for_their_script_and_shared_signs_for_none(
    caption: str, scripts: list[tuple[str, int]]
) -> None:
    """Most frequent first, ties by name; digits, punctuation, ー and Greek letters without a word count for none."""
    assert counted([caption]) == [scripts]


def test_the_columns_are_those_of_the_signals() -> None:
    """The types fit the schema of work/signals."""
    columns = measure(pa.RecordBatch.from_pydict({"caption": ["a", None]}))
    assert {name: column.type for name, column in columns.items()} == {
        name: SIGNALS.field(name).type for name in ("letters", "scripts")
    }


def test_every_language_is_written_in_scripts_that_exist() -> None:
    """The table of languages names Unicode scripts, and folding leads into it."""
    assert set(scripts_of(sorted(SCRIPTS_OF))) <= set(SCRIPTS)
    assert list(SCRIPTS) == sorted(set(SCRIPTS))
    assert scripts_of(["en", "zh-TW"]) == ("Bopomofo", "Han", "Latin")


def test_languages_are_told_without_region_and_their_parts_are_admitted() -> None:
    """Regional labels fold, and Norwegian is Bokmål and Nynorsk."""
    assert [base(name) for name in ("zh-TW", "yue", "pt_BR", "EN", "als")] == ["zh", "zh", "pt", "en", "de"]
    assert set(admitted(["no"])) >= {"no", "nb", "nn"}
    assert set(admitted(["nb"])) == {"nb", "no"}
