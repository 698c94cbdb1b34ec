"""filters/damage.py."""

import json
from pathlib import Path
from urllib.parse import quote

import ftfy.badness
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.damage import damage, restored
from tests.filters.captions import CAPTIONS, one

ZH = "一只猫坐在窗台上看着外面的雨"
JA = "猫が窓辺に座って雨を見ている"
VI = "Một người đàn ông đang cầm vợt tennis"


def read(text: str, encoding: str, other: str, errors: str = "strict") -> str:
    """`text` in one encoding, read as another."""
    return text.encode(encoding).decode(other, errors)


@pytest.mark.parametrize(
    ("damaged", "text"),
    [
        (read("海参", "utf-8", "gbk"), "海参"),
        (read("猫咪在窗台", "utf-8", "gb18030", "ignore"), None),
        ("娴峰弬", "海参"),
        (read("zdjęcie", "utf-8", "gbk"), "zdjęcie"),
        (read("Собака бежит", "utf-8", "gb18030"), "Собака бежит"),
        (read(ZH, "gbk", "latin-1"), ZH),
        (read(ZH, "gbk", "cp1252"), ZH),
        ("Ò»Ö»Ã¨×øÔÚ´°Ì¨ÉÏ", "一只猫坐在窗台上"),
        (read("一隻貓坐在窗臺上", "big5", "latin-1"), "一隻貓坐在窗臺上"),
        (read(JA, "cp932", "latin-1"), JA),
        (read("fotografía", "gbk", "latin-1"), "fotografía"),
        (read(ZH, "utf-8", "latin-1"), ZH),
        (read(VI, "utf-8", "latin-1"), VI),
        ("\\u4e00\\u53ea\\u732b", "一只猫"),
        ("A caf\\u00e9 \\ud83d\\ude00", "A café 😀"),
        ("%u4e00%u53ea", "一只"),
        (quote(ZH), ZH),
        (quote("Một con mèo!"), "Một con mèo!"),
        (quote(ZH.encode("gbk")), ZH),
        ("red%20dress%20sale", "red dress sale"),
        ("\\xe4\\xb8\\x80\\xe5\\x8f\\xaa", "一只"),
    ],
)
def test_what_is_certain_is_restored(damaged: str, text: str | None) -> None:
    """To the letter, and called damaged no more; with characters lost it is called damaged."""
    found = one(damaged)
    if text is None:
        assert found["damage"] is not None
    else:
        assert (found["caption"], found["damage"]) == (text, None)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("涓�鍙�鐚�鍧愬湪绐楀彴涓�", "lost_characters"),
        ("红色的锟斤拷锟斤拷连衣裙", "lost_characters"),
        ("一只�猫坐在窗台上", "lost_characters"),
        ("a half \\ud83d pair", "lost_characters"),
        ("cut off \\u4e", "lost_characters"),
        ("u4e00u53eau732b", "lost_characters"),
        (read(ZH, "utf-8", "gbk", "ignore"), "wrong_encoding"),
        (read(VI, "utf-8", "gbk", "ignore"), "wrong_encoding"),
        (read(ZH, "gbk", "cp1252", "ignore")[1:], "wrong_encoding"),
    ],
)
def test_what_is_not_certain_is_named(text: str, kind: str) -> None:
    """The signal says whether characters are gone or the encoding is not known."""
    assert one(text)["damage"] == kind


@pytest.mark.parametrize(
    "text",
    [
        "联通", "T台", "PU皮", "石头墙前", "时抓住一", "青い星が描かれたイラスト", "社、思想、", "Hello猫",
        "“”’’’’’", "Šódžú Ródžin", "ènìyàn sí àníyàn", "São Paulo é lá", "à la crème brûlée", "½ × ¼ ± 5 °C",
        "100% cotton", "50%20", "C:\\users\\photo", "caf\\u", "https://a.b/%E7%8C%AB", "see www.a.b/%E4%B8%80 there",
        "naïve 中文 text", "Ñandú", "ÄÖÜß", "烫烫烫的火锅", "ɖe ƒe katã",
    ],
)  # fmt: skip
def test_what_only_looks_damaged_is_left_alone(text: str) -> None:
    """Short Chinese that is valid UTF-8 by chance, tone languages, percent signs, addresses."""
    assert restored(text) == text
    assert damage(text) is None or text == "caf\\u"


def test_no_sound_caption_is_taken_for_damaged(test_data: Path) -> None:
    """Captions and sentences of 75 languages, whole and in windows of a few characters: none is repaired, and
    called damaged is only what is: pieces of a Romanian sentence that has lost characters, and of `â€™`."""
    lines = (test_data / "langid/sentences.tsv").read_text(encoding="utf-8").splitlines()[1:]
    texts = [line.split("\t")[2].strip() for line in lines]
    with (test_data / "pairs/pairs.jsonl").open(encoding="utf-8") as file:
        texts += [caption for line in file for caption in json.loads(line)["captions"]]
    for size in (4, 8, 1000):
        windows = sorted({text[at : at + size] for text in texts for at in range(0, len(text), size)})
        assert [text for text in windows if restored(text) != text] == []
        found = CAPTIONS.measure(pa.RecordBatch.from_pydict({"caption_raw": windows}))
        both = zip(found["caption"].to_pylist(), found["damage"].to_pylist(), strict=True)
        assert all(set("\ufffdâ˝") & set(caption) for caption, kind in both if kind)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_restoring_twice_is_restoring_once_more_at_most_by_cleaning(text: str) -> None:
    """Whatever the text, cleaning ends, and what it leaves is clean."""
    clean = one(text)["caption"]
    assert one(clean)["caption"] == clean


SOUND = (
    st.characters(codec="ascii")
    | st.sampled_from("·‘’“”—…、。！？～・ーぁんァヶ㐀一中文猫龥鿿")
    | st.characters(
        min_codepoint=0x3001, max_codepoint=0x9FFF, categories=("Lo", "Lm", "Po", "Ps", "Pe")
    ).filter(lambda one: "\u3001" <= one <= "\u30ff" or one >= "\u3400")
)


@settings(deadline=None, max_examples=300)
@given(st.text(SOUND, max_size=40))
def test_chinese_and_japanese_beside_ascii_show_no_sign_of_a_western_encoding(text: str) -> None:
    """So that ftfy need not be asked about them."""
    assert not ftfy.badness.is_bad(text)


@pytest.mark.parametrize("piece", ["\\u4e00", "%E4%B8", "锟斤", "涓", "Ã©", "¨¡", "\ufffd", "中", "\\"])
def test_a_caption_of_a_million_characters_takes_seconds(piece: str) -> None:
    """One repeated piece of damage, or of none, up to a megabyte."""
    assert damage(restored(piece * (1_000_000 // len(piece)))) in (None, "lost_characters", "wrong_encoding")


def test_the_batch_changes_nothing() -> None:
    """A damaged caption beside sound ones is restored as it is alone."""
    raw = [ZH, read(ZH, "gbk", "latin-1"), None, "A dog", "\\u4e00\\u53ea"]
    assert CAPTIONS.clean(pa.array(raw, pa.string())).to_pylist() == [ZH, ZH, None, "A dog", "一只"]
