import io
import pickle
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.errors import InputError, VlcorpusError
from schemas.plain import many, mended, plain, public, say

OBEYED = ("Cc", "Cs", "Zl", "Zp")
TURNS = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


@given(st.text(st.characters()))
@example("\x1b[31mred\x07\r\n\u202egnp.exe\u2028\u0085\udc80\U000e0041")
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    """What is shown is one line without escapes, line ends, turns of direction or halves of characters."""
    shown = plain(text)
    assert not [one for one in shown if unicodedata.category(one) in OBEYED or one in TURNS]
    assert plain(shown) == shown
    assert shown.encode().decode() == shown


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"])))
def test_text_that_prints_stays_as_it_is(text: str) -> None:
    """Letters, digits and signs of every script are shown as they are."""
    assert mended(text) == text


def test_a_number_has_its_noun() -> None:
    """One thing is not several."""
    assert [many(count, "row") for count in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"s3://AKIA:{SECRET}@bucket/a.tar", "s3://bucket/a.tar"),
        (f"s3://AKIA:{SECRET}/with+slash@bucket/a.tar", "s3://bucket/a.tar"),
        (f"https://me@{SECRET}:x@host.org/a", "https://host.org/a"),
        (f"https://host.org/a?X-Amz-Signature={SECRET}&X-Amz-Date=1", "https://host.org/a?…"),
        (f"https://host.org/a?{SECRET}", "https://host.org/a?…"),
        (f"https://host.org/a#access_token={SECRET}", "https://host.org/a#…"),
        (f"gs://bucket/a.tar?token={SECRET}", "gs://bucket/a.tar?…"),
        (
            f"cannot read 'hf://x:{SECRET}@datasets/a': it is gone",
            "cannot read 'hf://datasets/a': it is gone",
        ),
        (f"see https://host.org/?key={SECRET}; try again.", "see https://host.org/?…; try again."),
    ],
)
def test_addresses_are_shown_without_secrets(address: str, shown: str) -> None:
    """An address is shown without user, password, token or signature, and the sentence goes on behind it."""
    assert public(address) == shown


@pytest.mark.parametrize(
    "address", ["s3://bucket/a@b.tar", "s3://host:9000/a@b.tar", "s3://bucket/a?.tar", "https://host.org/a/b"]
)
def test_an_address_without_secrets_stays_as_it_is(address: str) -> None:
    """A port, an @ in a name, and a ? that stands for a letter are no secrets."""
    assert public(address) == address


def test_every_error_is_fit_to_be_shown() -> None:
    """The text of our errors holds no control character and no password, line by line, pickled or not."""
    error = InputError(f"s3://k:{SECRET}@b/\x1b[2Ja\nb", "  second\r line")
    assert str(error) == "s3://b/\\u001b[2Ja\\u000ab\n  second\\u000d line"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert isinstance(error, VlcorpusError)


def test_lines_are_said_one_each() -> None:
    """What is said ends up as one line each, whatever is in it."""
    out = io.StringIO()
    say("a\nb", "c", to=out)
    assert out.getvalue() == "a\\u000ab\nc\n"
