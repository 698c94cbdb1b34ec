"""filters/caption.py and filters/repair.py."""

import html
import json
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.arrow import matching, pc, put, some
from filters.caption import _CLOSING, _OPENING, REPEATED, Captions, CaptionSettings, _removed
from filters.damage import DAMAGED, damage, restored
from filters.repair import SUSPICIOUS, mend
from filters.repeated_words import is_repeated
from tests.filters.captions import CAPTIONS, measured, one

ODD = st.lists(
    st.sampled_from(
        [
            "<b>", "</p", "<", ">", "&", "amp;", "&lt;", "&#38;", "#60;", "lt;", "<!--", "-->", "Ã©",
            "â€œ", "\u200b", "\u200d", "\u200c", "\ufe0f", "\x1b[31m", "\x1b", "\x85", "\xa0", "  ",
            "\n", "e", "\u0301", "👩", "🇩", "️⃣", "https://a.b/c", "IMG_1234", ".jpg", "12345678901",
            "2019-01-01", "می", "क्", "中", "の", "(", " - ", "a=", '"', "<script>", "</script>",
            "<a href='", "File:",
        ]
    ),
    max_size=12,
).map("".join)  # fmt: skip


@settings(deadline=None)
@given(st.lists(ODD | st.text(st.characters(codec="utf-8"), max_size=30), max_size=6))
def test_cleaning_what_is_clean_changes_nothing(raw: list[str]) -> None:
    """Cleaning is idempotent, whatever the caption, and does not depend on the batch."""
    clean = CAPTIONS.clean(pa.array(raw, pa.string()))
    assert CAPTIONS.clean(clean).equals(clean)
    assert [CAPTIONS.clean(pa.array([text]))[0].as_py() for text in raw] == clean.to_pylist()


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_a_clean_caption_has_no_control_characters_and_is_composed(raw: str) -> None:
    """What is left is NFC, trimmed, and free of control characters."""
    clean = one(raw)["caption"]
    assert clean == clean.strip() == unicodedata.normalize("NFC", clean)
    assert not [c for c in clean if unicodedata.category(c) == "Cc"]


@pytest.mark.parametrize(
    "wrap", ["<p>{}</p>", '<a href="/x?id=3">{}</a><br/>', "<b>{}</b>&nbsp;", "<span class=c>{}"]
)
def test_html_around_a_caption_goes_and_the_caption_stays(wrap: str) -> None:
    """Tags and entities leave the original text, angle brackets of its own included."""
    text = 'Tom & Jerry\'s "<PERSON>" when a < b and 3 > 2, I <3 it'
    assert one(wrap.format(html.escape(text)))["caption"] == text


def test_captions_that_are_in_order_are_left_to_the_byte(test_data: Path) -> None:
    """Of real captions none is changed but for white space, and ftfy takes none for broken."""
    with (test_data / "pairs/pairs.jsonl").open(encoding="utf-8") as file:
        real = [caption for line in file for caption in json.loads(line)["captions"]]
    clean = measured(real)["caption"].to_pylist()
    assert [" ".join(c.split()) for c in clean] == [" ".join(c.split()) for c in real]
    assert sum(a.strip() == b for a, b in zip(real, clean, strict=True)) > 0.99 * len(real)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a<b and c>d", "a<b and c>d"), ("if x <y> then", "if x <y> then"),
        ("<ul><li>one<li>two</ul>", "one two"), ("big<br>dog", "big dog"), ("H<sub>2</sub>O", "H2O"),
        ("cut off <img src='http://x", "cut off"), ("<!-- id 7 -->Kept<!-- open", "Kept"),
        ("<script>if (a) b()</script>Kept", "Kept"),
        ("&amp;lt;b&amp;gt;bold&amp;lt;/b&amp;gt;", "bold"),
        ("AT&T, R&D and Q&A &unknown; &copy;", "AT&T, R&D and Q&A &unknown; ©"),
        ("cafÃ© â€œau laitâ€\x9d", "café “au lait”"),
        ("全角，标点！ＡＢＣ“引号”…", "全角，标点！ＡＢＣ“引号”…"),
        ("ﬁne ½ ① ™", "ﬁne ½ ① ™"), ("\x1b[1;31mred\x1b[0m text\x07", "red text"),
        ("zero\u200bwidth soft\u00adhyphen\ufeff", "zerowidth softhyphen"),
        ("می\u200cخواهم", "می\u200cخواهم"), ("la\u200ctin", "latin"),
        ("क\u094d\u200dष", "क\u094d\u200dष"), ("family 👨\u200d👩\u200d👧", "family 👨\u200d👩\u200d👧"),
        ("tab\tline\nwide\u3000end\u00a0", "tab line wide end"),
        ("One.  Two.   Three.", "One.  Two. Three."),
        ("Sunset over the bay - https://example.com/a?b=1", "Sunset over the bay"),
        ("Sunset over the bay.jpg", "Sunset over the bay"), ("一只狗在沙滩上奔跑.jpg", "一只狗在沙滩上奔跑"),
        ("File:Alice with sisters.jpg", "Alice with sisters"),
        ("9780340829752: Dark Tower", "Dark Tower"),
        ("Physical Law (0140175059) by Feynman", "Physical Law by Feynman"),
        ("红色连衣裙新款-淘宝网taobao.com", "红色连衣裙新款"), ("狗狗在草地上奔跑www.example.com", "狗狗在草地上奔跑"),
        ("www.example.com狗狗在草地上奔跑", "狗狗在草地上奔跑"), ("taobao.com红色连衣裙", "红色连衣裙"),
        ("แมวนั่งบนหน้าต่างexample.com", "แมวนั่งบนหน้าต่าง"), ("แมวนั่งบนหน้าต่าง.jpg", "แมวนั่งบนหน้าต่าง"),
        ("猫が窓辺に座っている amazon.co.jp", "猫が窓辺に座っている"),
        ("红色连衣裙_1920x1080", "红色连衣裙"), ("红色连衣裙（1024×768）", "红色连衣裙"),
        ("红色连衣裙-12345678", "红色连衣裙"), ("红色连衣裙12345678901", "红色连衣裙"),
        ("Wedding Favors from www.example.com", "Wedding Favors"), ("Dark Tower ISBN: 9780340829752", "Dark Tower"),
        ("Sunset (IMG_1234) over a bay", "Sunset over a bay"), ("IMG_1234 - Sunset", "Sunset"),
        ("https://example.com - Sunset", "Sunset"), ("Name: 12345678901", ""),
        ("π=3.14159265358979 is no fraction", "π=3.14159265358979 is no fraction"),
        ("The number 12345678901 is prime", "The number 12345678901 is prime"),
        ("Canvas print 800x1200", "Canvas print 800x1200"), ("Visit Booking.com today", "Visit Booking.com today"),
    ],
)  # fmt: skip
def test_cleaning_edits_what_is_wrong(raw: str, clean: str) -> None:
    """Markup, broken encodings, invisibles and fragments go; the rest stays."""
    assert one(raw)["caption"] == clean


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("https://example.com/p/12345.png", "url"),
        ("www.example.org/photos", "url"), ("someone@example.com", "email"),
        ("IMG_20190314_120455.jpg", "file_name"), ("some-long_name-87.JPEG", "file_name"),
        ("untitled-3.jpeg", "file_name"), ("Screen Shot 2019-03-12 at 10.22.33 PM.png", "file_name"),
        ("/uploads/2019/03/a", "path"), ("hitachi-solutions.jp", "domain"),
        ("2017-03-02 11:22:07", "date"), ("Tuesday, March 2nd, 2017", "date"), ("2017年3月2日", "date"),
        ("20190314_120455", "date"), ("DSC00417", "camera"), ("IMG-20190314-WA0001", "camera"),
        ("WhatsApp Image 2018-01-01 at 10.22.33", "camera"), ("image001", "nameless"),
        ("untitled-3", "nameless"), ("Photo (12)", "nameless"), ("图片1", "nameless"),
        ("00000000000", "digits"), ("0018_02_7781_x2", "code"),
        ("B00XY12345", "code"), ("20190314_12", "code"), ("淘宝网taobao.com", "domain"),
        ("https://zh.wikipedia.org/wiki/猫", "url"), ("/uploads/红色连衣裙", "path"),
        ("3f2504e04f8911d39a0c0305e82c3301", "hash"), ("!!! *** !!!", "symbols"),
        ("sale sale sale Sale", "repeated_words"), ("哈哈哈哈哈哈哈哈", "repeated_words"),
    ],
)  # fmt: skip
def test_a_caption_that_is_nothing_but_a_pattern_is_named_and_kept_as_it_is(caption: str, name: str) -> None:
    """The signal has the pattern's name, the caption what the crawl had."""
    measured = one(caption)
    assert (measured["pattern"], measured["caption"]) == (name, caption)


@pytest.mark.parametrize(
    "caption",
    [
        "baked-pasta-with-broccoli", "caesar_salad", "小龙虾-预览图-1", "Boeing 747 at the gate",
        "1963 Yearbook", "Euro 2016", "Sam 2 rides a horse", "Red/White/Blue shirt",
        "A photo of Niels Bohr.", "New York New York", "2012 Fourth of July", "The image shows 3 dogs",
        "v = 3.5 m/s", "海参", "A320", "GT500", "i7-9700K", "WH-1000XM4", "RTX 3080",
        "/狗在草地上奔跑", "Camaro SS 1968 for sale", "May I come in", "图中有三只狗",
    ],
)  # fmt: skip
def test_a_caption_that_says_something_has_no_pattern(caption: str) -> None:
    """Names, numbers and hyphens inside a caption are no pattern."""
    assert one(caption)["pattern"] is None


@pytest.mark.parametrize(
    ("caption", "count"),
    [
        ("dog 🐶", 1), ("❤️ it", 1), ("👨\u200d👩\u200d👧\u200d👦", 1), ("🇩🇪🇨🇳", 2), ("1️⃣ and #️⃣", 2),
        ("👍🏽👍", 2), ("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", 1),
        ("🏳️\u200d🌈", 1), ("©️", 1), ("&#128512;", 1), ("© ® ™ 5 # *", 0), ("lone \ufe0f selector", 0),
        ("text ❤ ☺ ♥ ★", 0), ("🐶\ufe0e", 0), ("α ≤ β → γ ☐", 0), ("①②㊗", 0),
    ],
)  # fmt: skip
def test_emoji_are_counted_as_sequences(caption: str, count: int) -> None:
    """A joined family, a flag, a keycap is one; text presentation and lone selectors are none."""
    assert one(caption)["emoji"] == count


@pytest.mark.parametrize(
    ("caption", "tag"),
    [
        ("photo by <PERSON>.", "<PERSON>"), ("<p>&lt;person&gt; runs</p>", "<person>"),
        ("a [MASK] here", "[MASK]"), ("see <ref>dog</ref>", "<ref>"), ("<p>paragraph</p>", None),
        ("a person", None),
    ],
)  # fmt: skip
def test_special_tags_are_found_raw_or_escaped(caption: str, tag: str | None) -> None:
    """Placeholders are found in the raw caption, or where entities hid them; HTML is none."""
    assert one(caption)["special_tag"] == tag


@pytest.mark.parametrize(
    ("caption", "words", "han"),
    [
        ("A dog's well-known 3.5 trick", 7, 0), ("一只狗", 3, 3), ("穿着T恤的小孩", 7, 6),
        ("〇 hello 世界", 4, 3),
        ("naïve 'quoted' word", 3, 0), ("क्षत्रिय योद्धा", 2, 0), ("", 0, 0),
    ],
)  # fmt: skip
def test_words_are_counted_in_every_script(caption: str, words: int, han: int) -> None:
    """Each Han character is a word, as is each run of other letters."""
    got = one(caption)
    assert (got["caption_words"], got["caption_han"]) == (words, han)


def test_a_missing_caption_is_null_in_every_column_and_an_empty_one_is_empty() -> None:
    """Absent and empty differ."""
    columns = measured([None, "", "<br>"])
    assert {name: column[0].as_py() for name, column in columns.items()} == dict.fromkeys(columns)
    assert columns["caption"].to_pylist()[1:] == ["", ""]
    assert columns["caption_chars"].to_pylist()[1:] == [0, 0]


def test_a_recipe_adds_and_removes_patterns_by_name() -> None:
    """Patterns are laid over the defaults, `off` takes one away."""
    mine = Captions(CaptionSettings.model_validate({"patterns": {"sku": r"SKU \w+", "camera": False}}))
    assert one("SKU ABC", mine)["pattern"] == "sku"
    assert one("DSCX00417", mine)["pattern"] == one("DSCX00417")["pattern"]
    assert one("IMG_12 copy", mine)["pattern"] is None
    assert one("image001", mine)["pattern"] == "nameless"


def test_a_fragment_leaves_what_its_group_keep_holds() -> None:
    """On the side of it where the group stands."""
    fragments = {"last": r"(?P<keep>[.]) Buy now!$", "first": r"^New: (?P<keep>[A-Z])"}
    mine = Captions(CaptionSettings.model_validate({"fragments": fragments}))
    assert one("New: A red dress. Buy now!", mine)["caption"] == "A red dress."


def test_an_expression_that_does_not_compile_is_refused_by_name() -> None:
    """The recipe's error names the pattern."""
    with pytest.raises(ValueError, match="broken is no RE2 expression"):
        CaptionSettings.model_validate({"patterns": {"broken": "(a"}})


def test_settings_survive_a_round_trip() -> None:
    """What was switched off stays off when settings are written and read."""
    settings = CaptionSettings.model_validate({"patterns": {"camera": False}, "max_spaces": 1})
    assert CaptionSettings.model_validate(settings.model_dump()) == settings


@pytest.mark.parametrize(
    "piece", ["<a ", "<!--", "<script>", "&amp;", '<a href="', "a.b.", "\u200d👩", "1-", "Ã©"]
)
def test_hostile_captions_take_linear_time(piece: str) -> None:
    """A caption of 200,000 characters that sets a trap for backtracking takes little time of the processor."""
    since = time.process_time()
    assert one(piece * (200_000 // len(piece)))["caption"] is not None
    assert time.process_time() - since < 20


def test_broken_encodings_of_ftfys_own_cases_are_mended(test_data: Path) -> None:
    """Where ftfy's published cases need nothing but decoding, cleaning gives their truth."""
    cases = [
        case
        for path in sorted((test_data / "hostile").rglob("ftfy-*.json"))
        for case in json.loads(path.read_text(encoding="utf-8"))
        if case.get("expect") == "pass" and "fixed-encoding" in case
    ]
    if not cases:
        pytest.skip("no cases of ftfy in the data")
    clean = CAPTIONS.clean(pa.array([case["original"] for case in cases], pa.string())).to_pylist()
    want = [" ".join(unicodedata.normalize("NFC", case["fixed-encoding"]).split()) for case in cases]
    right = sum(" ".join(a.split()) == b for a, b in zip(clean, want, strict=True))
    assert right >= 0.9 * len(cases)


@pytest.mark.parametrize(
    ("expressions", "why"),
    [
        ({"long": "a|" * 5001}, "long is too large: 10,002 characters"),
        ({"deep": r"(?:\p{L}{1,1000}){900}"}, "deep is no RE2 expression"),
        # compiles by itself, and not between what stands around a caption
        ({"edge": r"\p{L}{1,446}"}, "edge is no RE2 expression: .*too large"),
        ({str(number): "a" for number in range(1001)}, "expressions are too many"),
    ],
)
@pytest.mark.parametrize("block", ["patterns", "fragments"])
def test_an_expression_that_is_too_large_is_refused_with_the_recipe(
    block: str, expressions: dict[str, str], why: str
) -> None:
    """And not by a worker, hours later."""
    with pytest.raises(ValueError, match=why):
        CaptionSettings.model_validate({block: expressions})


@pytest.mark.parametrize("tags", [[""], ["<" * 101], [f"<{number}>" for number in range(1001)]])
def test_placeholders_have_limits(tags: list[str]) -> None:
    """An empty one would be in every caption, and each is sought wherever one may begin."""
    with pytest.raises(ValueError, match="special_tags"):
        CaptionSettings.model_validate({"special_tags": tags})


def test_captions_of_a_megabyte_are_measured_in_moments() -> None:
    """Of one character, of combining marks alone, of markup, entities and damage; each is a row with its signals."""
    begun = time.process_time()
    for part in ("a", "中", "\u0301", "a\u0301", "<b>", "&amp;", "%E7", "Ã©", "buy now ", "1", "\u200b"):
        signals = one((part * 1_000_000)[:1_000_000])
        assert signals["caption"] is not None
        assert signals["language"] is not None
    assert time.process_time() - begun < 60


class Slowly(Captions):
    """The oracle: every expression is sought in every text, one fragment after the other."""

    def _pass(self, texts: pa.StringArray) -> pa.StringArray:
        for expression, change in ((DAMAGED, restored), (SUSPICIOUS, mend)):
            found = matching(texts, expression)
            changed = [change(text) for text in some(texts, found).to_pylist()]
            texts = put(texts, found, pa.array(changed, pa.string()))
        texts = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, self._spaces, " "))
        for expression in self._fragments:
            rows = matching(texts, expression)
            found = some(texts, rows)
            whole = pc.is_valid(self.pattern(found))
            texts = put(texts, rows, pc.if_else(whole, found, _removed(found, expression)))
        return texts

    def pattern(self, texts: pa.StringArray) -> Any:
        """The name of the first pattern that a text is as a whole, else null."""
        names: list[str | None] = [
            REPEATED if text is not None and is_repeated(text, self._repeated) else None
            for text in texts.to_pylist()
        ]
        for name, expression in reversed(self._patterns.items()):
            for row in matching(texts, _OPENING + expression + _CLOSING):
                names[row] = name
        return pa.array(names, pa.string())

    def measure(self, rows: pa.RecordBatch) -> dict[str, Any]:
        """The columns that marks save a search for."""
        clean: Any = self.clean(rows["caption_raw"])
        both = zip(rows["caption_raw"].to_pylist(), clean.to_pylist(), strict=True)
        tags = [[self._tag.search(text or "") for text in pair] for pair in both]
        is_damaged = set(matching(clean, DAMAGED).tolist())
        damages = [damage(one) if row in is_damaged else None for row, one in enumerate(clean.to_pylist())]
        return {
            "caption": clean,
            "pattern": self.pattern(clean),
            "special_tag": pa.array([(a and a[0]) or (b and b[0]) for a, b in tags], pa.string()),
            "damage": pa.array(damages, pa.string()),
        }


def _assert_quick_as_slow(raw: Sequence[str | None], given_settings: CaptionSettings) -> None:
    rows = pa.RecordBatch.from_pydict({"caption_raw": pa.array(raw, pa.string())})
    slow, quick = Slowly(given_settings).measure(rows), Captions(given_settings).measure(rows)
    for name, column in slow.items():
        assert quick[name].to_pylist() == column.to_pylist(), name


PIECES = st.sampled_from(
    [
        "taobao.com", "红色连衣裙", "1920x1080", "-12345678", "[PAD]", "<person>", "u4e00u53ea", "\\u4e00",
        "%E4%B8%80", "锟斤拷", "sale ", "Sale ", "ſale ", "   ", " ", "www.x.org", "a@b.com", "C:\\x", "㍿",
        "March 2nd, 2017", "untitled", "A dog runs ", "0123456789abcdef", "B00XY12345", "screenshot", ".jpg ",
        "image: ", "☎", "\x7f", "\0",
    ]
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.none() | ODD | st.lists(PIECES, max_size=6).map("".join) | st.text(max_size=20), max_size=20),
    st.sampled_from(
        [
            CaptionSettings(),
            CaptionSettings(
                max_spaces=1, repeated_words=2, special_tags=("ka", "<b>", "中"), fragments={"a": "dog"}
            ),
        ]
    ),
)
def test_marks_save_searches_and_change_nothing(
    raw: list[str | None], given_settings: CaptionSettings
) -> None:
    """Columns are those of every expression sought in every text, also with a recipe's own expressions."""
    _assert_quick_as_slow(raw, given_settings)


def test_marks_change_nothing_in_published_captions(test_data: Path) -> None:
    """Captions of LAION, and sentences in 99 languages."""
    table = pq.read_table(test_data / "formats/metadata/laion-url-text-10000.parquet", columns=["TEXT"])
    sentences = (test_data / "langid/sentences.tsv").read_text(encoding="utf-8").splitlines()
    raw = [*table["TEXT"].to_pylist(), *(line.split("\t")[2] for line in sentences)]
    _assert_quick_as_slow(raw, CaptionSettings())
