"""The paper's rules, in the paper's order."""

import pytest

from synth.documents import HTML_RULES, PDF_RULES, DocumentPage, as_drawn, judge
from synth.regions import TextLine

QUAD = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0))


def _page(text: str, width: int = 800, height: int = 600) -> DocumentPage:
    return DocumentPage(0, b"", width, height, (TextLine(text, QUAD),), {})


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("short", "few_characters"),
        ("long " * 2000, "many_characters"),
        ("enough text with Ā in it", "latin_extended"),
        ("enough text with ɏ in it", "latin_extended"),
        ("enough text with \ue000 in it", "private_use"),
        ("enough text with \U0010fffd in it", "private_use"),
        ("enough text with \ufffd in it", "unreadable_text"),
        ("enough text with é and 汉 in it", ""),
    ],
)
def test_each_rule_drops_what_it_names(text: str, rule: str) -> None:
    """A page that breaks one rule fails that one alone; Latin-1 and Han are welcome."""
    assert list(judge(_page(text))) == ([rule] if rule else [])


def test_all_failed_rules_are_told_in_order() -> None:
    """Whatever the page breaks comes back, in the order of the rules."""
    failed = judge(_page("ā\ue000", 100, 100))
    assert list(failed) == ["too_small", "few_characters", "latin_extended", "private_use"]
    assert list(failed) == [name for name in PDF_RULES if name in failed]
    assert failed["too_small"] == "100 pixels, fewer than 200"
    assert failed["few_characters"] == "2 characters, fewer than 10"
    assert failed["latin_extended"] == "1 character of Latin Extended, the first U+0101"


def test_html_has_no_rule_for_latin_extended() -> None:
    """The paper drops Latin Extended in PDF only."""
    page = _page("a Polish łąka with a długi rów")
    assert list(judge(page)) == ["latin_extended"]
    assert not judge(page, HTML_RULES)


def test_text_is_told_as_it_is_drawn() -> None:
    """Ligatures are spelt out, soft hyphens and joiners vanish, pdfium's hyphen mark is a hyphen."""
    assert as_drawn("\ufb01eld \ufb03x so\u00adft\u200b end\x02") == "field ffix soft end-"
