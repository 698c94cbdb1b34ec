"""Text files come in many encodings: they are read as they were written, or refused with a sentence."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InputError
from synth.text import builtin, decode

TEXTS = {
    "zh": "".join(builtin("zh")[:2]),
    "tw": "清晨六點，第一班渡船離開碼頭，江面上還籠著一層薄霧。請妥善保管收據。",
    "ja": "朝六時、最初の渡し船が桟橋を離れる。領収書は大切に保管してください。",
    "ko": "아침 여섯 시에 첫 나룻배가 부두를 떠난다.",
    "ru": "В шесть часов утра первый паром уходит от причала.",
    "fr": "Déjà vu : l'œuvre complète coûte 12 €, garçon.",
    "en": builtin("en")[0],
}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *(("zh", name) for name in ("utf-8", "gb2312", "gb18030", "utf-16", "utf-16-le", "utf-16-be", "utf-32")),
        *(("tw", name) for name in ("utf-8-sig", "big5", "gb18030", "utf-16-be")),
        *(("ja", name) for name in ("cp932", "euc_jp", "utf-16-le")),
        *(("ko", name) for name in ("cp949", "utf-16")),
        *(("ru", name) for name in ("cp1251", "koi8-r", "utf-16-le")),
        *(("fr", name) for name in ("cp1252", "utf-16-le")),
        *(("en", name) for name in ("ascii", "utf-16-be")),
    ],
)  # fmt: skip
def test_a_text_comes_out_as_it_was_written(text: str, encoding: str) -> None:
    """By mark, as UTF-8, in an old encoding of its language, or as UTF-16 without a mark."""
    language = {"tw": "zh"}.get(text, text)
    assert decode(TEXTS[text].encode(encoding), language) == TEXTS[text]


@pytest.mark.parametrize("language", ["en", "zh", "ja", "ru"])
def test_binary_data_is_refused_with_a_sentence(language: str) -> None:
    """Noise, a picture's or an archive's head is no text of any language, and the remedy is told."""
    noise = random.Random(1)
    for data in (
        noise.randbytes(2000),
        b"\x89PNG\r\n\x1a\n" + noise.randbytes(300),
        b"PK\x03\x04" + bytes(60),
    ):
        with pytest.raises(InputError, match=f"no text of language {language}.*convert it to UTF-8"):
            decode(data, language)


def test_a_mark_that_lies_is_told() -> None:
    """Bytes that do not follow their own mark are refused by its name."""
    with pytest.raises(InputError, match="its mark says utf-8, and it is not"):
        decode(b"\xef\xbb\xbf\xff\xfe\xff\xff", "en")


def test_nothing_is_an_empty_text() -> None:
    """No bytes, and a mark alone, are no error: there is just no text."""
    assert decode(b"", "zh") == ""
    assert decode(b"\xff\xfe", "zh") == ""


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])))
def test_utf_8_always_wins(text: str) -> None:
    """Whatever the language said, text in UTF-8 is read as such."""
    for language in ("en", "zh", "ja"):
        assert decode(text.encode(), language).lstrip("\ufeff") == text.lstrip("\ufeff")
