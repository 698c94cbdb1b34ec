"""filters/language.py."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import scripts
from filters.arrow import matching
from filters.language import (
    _SIGNS,
    Language,
    LanguageSettings,
    _mostly_capitals,
    _signed,
    model_digest,
    model_of_the_wheel,
)
from filters.lid import Asked
from filters.scripts import every_character
from schemas.errors import InputError
from tests.filters.captions import measured, one


@pytest.mark.parametrize(
    ("caption", "language"),
    [
        ("A dog runs along the beach with a stick in its mouth.", "en"),
        ("A MAN IS SKIING ON THE SNOW SLOPES", "en"),
        ("Một người đàn ông đang cầm vợt tennis đứng trên sân.", "vi"),
        ("Zdjęcie wykonane przy użyciu teleskopu.", "pl"),
        ("Una fotografía de un arcoíris doble.", "es"),
        ("一只狗在海滩上跑。", "zh"),
        ("人在ATV捕捉空气！", "zh"),
        ("穿着T恤的小孩。", "zh"),
        ("優の良品專門店的招牌在街上", "zh"),
        ("凉拌木耳", "zh"),
        ("猫がソファで寝ている。", "ja"),
        ("東京駅前の風景", "ja"),
        ("気象庁発表", "ja"),
        ("해변을 달리는 개", "ko"),
        ("大韓民國 서울의 거리", "ko"),
        ("The Chinese character 龍 means dragon.", "en"),
        ("Собака бежит по пляжу.", "ru"),
        ("ένας σκύλος", "el"),
        ("สุนัขวิ่งบนชายหาด", "th"),
        ("ᎣᏏᏲ ᎣᎩᎾᎵᎢ", "und"),
        ("x", "und"),
        ("12:30 !", "und"),
        ("", "und"),
    ],
)
def test_scripts_decide_where_they_can_and_the_model_where_not(caption: str, language: str) -> None:
    """The decision table of docs/filters.md, case by case."""
    assert one(caption)["language"] == language


@pytest.mark.parametrize(
    ("text", "language"),
    [("The old red barn", "en"), ("A handmade wool scarf", "und"), ("Das alte Haus", "de")],
)
@pytest.mark.parametrize("form", ["▶ {}", "» {}", "„{}“", "✔ {}", "★ {} ★", "{}™", "『{}』", "wide", "bold"])
def test_signs_are_not_language(form: str, text: str, language: str) -> None:
    """Bullets, quotes, full-width and mathematical letters leave the label as it is, and the caption too."""
    wide = "".join(chr(ord(one) + 0xFEE0) if one != " " else one for one in text)
    bold = "".join(one if one == " " else chr(ord(one.lower()) - ord("a") + 0x1D41A) for one in text)
    marked = {"wide": wide, "bold": bold}.get(form, form.format(text))
    assert (one(text)["language"], one(marked)["language"]) == (language, language)
    assert one(marked)["caption"] == marked


def test_a_caption_with_signs_changes_no_other() -> None:
    """Each caption of a batch has the language and the score that it has alone."""
    captions = ["★ Ⅷ Ⅻ Ⅷ", "★ ﬁﬁ ﬃ", "★ The ﬁne ﬂower", "𝐁𝐨𝐥𝐝 letters", "▶ A dog", "一只猫"]
    found = measured(captions)
    for name in ("language", "language_score"):
        assert found[name].to_pylist() == [one(caption)[name] for caption in captions]


def test_several_dialects_do_not_outvote_the_first_label() -> None:
    """Bavarian, German and Alemannic add up to more than Swahili here, yet each alone is less."""
    assert one("amethibitisha tena katika Mkataba wao im")["language"] == "sw"


def test_a_missing_caption_has_no_language() -> None:
    """Null stays null, in a batch and alone."""
    columns = measured([None, "A dog runs along the beach.", None])
    assert columns["language"].to_pylist() == [None, "en", None]
    assert [score is None for score in columns["language_score"].to_pylist()] == [True, False, True]


def test_a_caption_is_judged_alone() -> None:
    """The batch that a caption comes in changes nothing."""
    captions = [
        "一只狗",
        "Ein Hund läuft am Strand entlang.",
        "hund",
        "犬がいる",
        "",
        "Ωμέγα",
        "DOG ON A BEACH",
    ]
    together = measured([*captions, *reversed(captions)])["language"].to_pylist()
    assert together[: len(captions)] == [one(caption)["language"] for caption in captions]
    assert together[len(captions) :] == together[: len(captions)][::-1]


def test_scores_lie_between_nothing_and_one() -> None:
    """Whatever decided, the score is a share or a probability."""
    scores = measured(["A dog", "一只狗 dog", "собака", "", "zzz qqq", "A man is standing there"])[
        "language_score"
    ]
    assert all(0 <= score <= 1 for score in scores.to_pylist())


def test_a_missing_model_is_one_sentence_that_names_the_file(tmp_path: Path) -> None:
    """The setting is named, so that a person knows what to change."""
    with pytest.raises(InputError, match=r"nowhere\.bin.*signals\.language\.model"):
        Language(LanguageSettings(model=str(tmp_path / "nowhere.bin")))


@pytest.mark.parametrize("size", [0, 8, 5000, 900_000])
def test_a_damaged_model_is_one_sentence_and_not_a_crash(tmp_path: Path, size: int) -> None:
    """fastText's loader dies of some truncated files; the process that tries is not this one."""
    path = tmp_path / "damaged.ftz"
    path.write_bytes(model_of_the_wheel().read_bytes()[:size])
    with pytest.raises(InputError, match=r"damaged\.ftz is damaged"):
        Language(LanguageSettings(model=str(path)))


def test_another_sound_model_is_taken_by_path(tmp_path: Path) -> None:
    """A model that is not known by its digest is tried, loaded and named by its digest."""
    path = tmp_path / "mine.ftz"
    path.write_bytes(model_of_the_wheel().read_bytes() + b"\0")
    settings = LanguageSettings(model=str(path))
    mine = Language(settings)
    captions = pa.array(["Una fotografía de un arcoíris doble."])
    columns = {"caption": captions} | scripts.measure(pa.RecordBatch.from_pydict({"caption": captions}))
    assert mine.measure(pa.RecordBatch.from_pydict(columns))["language"].to_pylist() == ["es"]
    assert model_digest(settings) != model_digest(LanguageSettings())


def test_sentences_are_told_as_well_as_the_model_alone_and_chinese_better(test_data: Path) -> None:
    """English and Chinese at 99 % or more, no other language a point below bare fastText; und is wrong."""
    lines = (test_data / "langid/sentences.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = [row for row in (line.split("\t") for line in lines) if row[1] == "sentence"]
    ours = measured([text for _, _, text in rows])["language"].to_pylist()
    fasttext = Asked(model_of_the_wheel())
    labels = fasttext.many(pa.array([text for _, _, text in rows])).numbers[:, 0]
    bare = [fasttext.names[label] for label in labels]
    total, right, model = Counter[str](), Counter[str](), Counter[str]()
    for (truth, _, _), mine, theirs in zip(rows, ours, bare, strict=True):
        total[truth] += 1
        right[truth] += mine == truth
        model[truth] += theirs == truth
    assert all(right[name] >= 0.99 * total[name] for name in ("en", "zh"))
    assert [name for name in total if right[name] < model[name] - 0.01 * total[name]] == []


def test_signs_are_found_as_re2_finds_them() -> None:
    """Every character, alone in a caption; the line feed at the end of each is none."""
    characters: Any = pa.array(["", None, *every_character()])
    assert _signed(characters).tolist() == matching(characters, _SIGNS).tolist()


@given(st.text(st.sampled_from("aB 1ßΣİé.Ǆ"), max_size=12) | st.text(max_size=12))
def test_capitals_are_counted_one_by_one(text: str) -> None:
    """Capitals are the rule where nothing else has case, or where they are more than half of what is no space."""
    capitals = sum(one.isupper() for one in text)
    (found,) = _mostly_capitals(pa.array([text]))
    assert found == (text.isupper() or 2 * capitals > len(text) - text.count(" "))
