"""filters/language.py: whichever way a recipe writes a language, its key holds for it."""

import pytest

from filters.language import doubled, key_of


@pytest.mark.parametrize(
    ("keys", "language", "expected"),
    [
        (["zh-CN", "en"], "zh", "zh-CN"), (["yue"], "zh", "yue"), (["zh-Hant"], "zh", "zh-Hant"),
        (["EN_us"], "en", "EN_us"), (["en"], "zh", None), (["en", "default"], "und", None), ([], "en", None),
        (["no"], "nn", "no"), (["no", "nn"], "nn", "nn"), (["nb"], "no", "nb"), (["sh", "hr"], "sr", "sh"),
    ],
)  # fmt: skip
def test_a_key_is_found_by_its_language(keys: list[str], language: str, expected: str | None) -> None:
    """Regions, scripts and varieties are folded; the language's own key stands above one that admits it."""
    assert key_of(keys, language) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["zh", "en"], None),
        (["zh", "zh-CN"], ("zh", "zh-CN")),
        (["yue", "en", "zh-Hant"], ("yue", "zh-Hant")),
    ],
)
def test_two_keys_of_one_language_are_told(keys: list[str], expected: tuple[str, str] | None) -> None:
    """One of them would never match."""
    assert doubled(keys) == expected
