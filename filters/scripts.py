"""Which scripts a caption is written in, letter by letter, by the Unicode Script property.

Characters shared by all scripts (digits, punctuation, the micro sign) are of the script Common or
Inherited and count for none. A whole batch is one array of code points that a table of 1.1 million
bytes turns into script numbers, so no row costs Python anything.

Which languages there are, by what the language model calls them, and the scripts they are written in.
"""

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import regex  # type: ignore[import-untyped]
from pydantic import Field

from filters.arrow import Bools, Column, Rows, array, bools, bytes_of, lists, pc, some
from filters.filter import Columns, Filter, Rule
from schemas.settings import Settings

SCRIPTS: Final = (
    "Adlam", "Ahom", "Anatolian_Hieroglyphs", "Arabic", "Armenian", "Avestan", "Balinese", "Bamum",
    "Bassa_Vah", "Batak", "Bengali", "Bhaiksuki", "Bopomofo", "Brahmi", "Buginese", "Buhid",
    "Canadian_Aboriginal", "Carian", "Caucasian_Albanian", "Chakma", "Cham", "Cherokee", "Chorasmian",
    "Coptic", "Cuneiform", "Cypriot", "Cypro_Minoan", "Cyrillic", "Deseret", "Devanagari", "Dives_Akuru",
    "Dogra", "Duployan", "Egyptian_Hieroglyphs", "Elbasan", "Elymaic", "Ethiopic", "Georgian", "Glagolitic",
    "Gothic", "Grantha", "Greek", "Gujarati", "Gunjala_Gondi", "Gurmukhi", "Han", "Hangul",
    "Hanifi_Rohingya", "Hanunoo", "Hatran", "Hebrew", "Hiragana", "Imperial_Aramaic",
    "Inscriptional_Pahlavi", "Inscriptional_Parthian", "Javanese", "Kaithi", "Kannada", "Katakana", "Kawi",
    "Kayah_Li", "Kharoshthi", "Khitan_Small_Script", "Khmer", "Khojki", "Khudawadi", "Lao", "Latin",
    "Lepcha", "Limbu", "Linear_A", "Linear_B", "Lisu", "Lycian", "Lydian", "Mahajani", "Makasar",
    "Malayalam", "Mandaic", "Manichaean", "Marchen", "Masaram_Gondi", "Medefaidrin", "Meetei_Mayek",
    "Mende_Kikakui", "Meroitic_Cursive", "Meroitic_Hieroglyphs", "Miao", "Modi", "Mongolian", "Mro",
    "Multani", "Myanmar", "Nabataean", "Nag_Mundari", "Nandinagari", "New_Tai_Lue", "Newa", "Nko", "Nushu",
    "Nyiakeng_Puachue_Hmong", "Ogham", "Ol_Chiki", "Old_Hungarian", "Old_Italic", "Old_North_Arabian",
    "Old_Permic", "Old_Persian", "Old_Sogdian", "Old_South_Arabian", "Old_Turkic", "Old_Uyghur", "Oriya",
    "Osage", "Osmanya", "Other", "Pahawh_Hmong", "Palmyrene", "Pau_Cin_Hau", "Phags_Pa", "Phoenician",
    "Psalter_Pahlavi", "Rejang", "Runic", "Samaritan", "Saurashtra", "Sharada", "Shavian", "Siddham",
    "SignWriting", "Sinhala", "Sogdian", "Sora_Sompeng", "Soyombo", "Sundanese", "Syloti_Nagri", "Syriac",
    "Tagalog", "Tagbanwa", "Tai_Le", "Tai_Tham", "Tai_Viet", "Takri", "Tamil", "Tangsa", "Tangut", "Telugu",
    "Thaana", "Thai", "Tibetan", "Tifinagh", "Tirhuta", "Toto", "Ugaritic", "Vai", "Vithkuqi", "Wancho",
    "Warang_Citi", "Yezidi", "Yi", "Zanabazar_Square",
)  # fmt: skip
"""Unicode's scripts in order of name; `Other` is any that a newer Unicode has added since."""

NO_SCRIPT: Final = 255
"""The table's value for what is no letter of a script: digits, punctuation, Common, Inherited."""

EAST_ASIAN: Final = ("Han", "Hiragana", "Katakana", "Hangul", "Bopomofo")
HEAVY: Final = 3
"""One Han character, kana or syllable block says as much as so many letters of an alphabet."""
_USUAL: Final = SCRIPTS.index("Latin")
"""The script of most letters, which are counted without looking at each."""
_GREEK: Final = SCRIPTS.index("Greek")
_WORD: Final = 3
"""Greek letters in shorter runs are signs: α, Ω, Δt, μm."""

_SPARSE: Final = 16
"""Where fewer than one character in so many is chosen, the chosen are counted one by one."""

Counts = npt.NDArray[np.int64]
SCRIPTS_TYPE: Final[Any] = pa.list_(pa.struct([("script", pa.string()), ("letters", pa.int32())]))


def every_character() -> str:
    """Returns all code points but the surrogates, in order."""
    points = np.arange(0x110000, dtype="<u4")
    return np.delete(points, slice(0xD800, 0xE000)).tobytes().decode("utf-32-le")


@cache
def script_table() -> npt.NDArray[np.uint8]:
    """A table from code point to the index of its letter's script in SCRIPTS, or to NO_SCRIPT."""
    # the ideographic zero is a letter-number to Unicode and a character like any other to a reader
    letters = "".join(regex.findall(r"[\p{L}〇]+", every_character()))
    letters = regex.sub(r"[\p{Script=Common}\p{Script=Inherited}]+", "", letters)
    table = np.full(0x110000, NO_SCRIPT, np.uint8)
    # the largest first, so that the many small scripts search a short rest
    for name in sorted(SCRIPTS, key=lambda s: s not in ("Han", "Hangul", "Tangut", "Egyptian_Hieroglyphs")):
        if name == "Other":
            continue
        run = rf"\p{{Script={name}}}+"
        found = "".join(regex.findall(run, letters))
        table[np.frombuffer(found.encode("utf-32-le"), np.uint32)] = SCRIPTS.index(name)
        letters = regex.sub(run, "", letters)
    table[np.frombuffer(letters.encode("utf-32-le"), np.uint32)] = SCRIPTS.index("Other")
    table.setflags(write=False)
    return table


@cache
def ideographs() -> npt.NDArray[np.int8]:
    """A table from code point: 1 for Han characters of Japan's JIS X 0208 that neither GB 2312 nor Big5 has
    (simplified in Japan alone, or made there), -1 for those the other way round, else 0."""
    table = np.zeros(0x110000, np.int8)
    for point in range(0x4E00, 0xA000):
        japan, china, taiwan = (bool(chr(point).encode(c, "ignore")) for c in ("shift_jis", "gb2312", "big5"))
        table[point] = int(japan and not (china or taiwan)) - int(not japan and (china or taiwan))
    return table


class CodePoints(NamedTuple):
    """A batch of captions as one array: the code points, and where each caption starts.

    Every caption ends with a line feed, so that what stands beside a character never belongs to
    another caption.
    """

    points: npt.NDArray[np.uint32]
    starts: Counts

    def counts(self, chosen: Bools) -> Counts:
        """Returns how many characters of each caption are chosen."""
        if _SPARSE * np.count_nonzero(chosen) < len(chosen) or not len(chosen):
            return np.bincount(self.rows(chosen), minlength=len(self.starts))
        found: Counts = np.add.reduceat(chosen.view(np.uint8), self.starts, dtype=np.int64)
        return found

    def rows(self, chosen: Bools) -> Rows:
        """Returns the row of each character that is chosen."""
        places = np.flatnonzero(chosen)
        if _SPARSE * len(places) < len(chosen):
            return np.searchsorted(self.starts, places, "right") - 1
        lengths = np.diff(self.starts, append=len(self.points))
        return np.repeat(np.arange(len(lengths)), lengths).take(places)


def code_points(captions: pa.StringArray) -> CodePoints:
    """The code points of a batch; a null caption has a line feed alone."""
    ended = pc.binary_join_element_wise(pc.fill_null(captions, ""), "\n", "")
    lengths = pc.utf8_length(ended).to_numpy().astype(np.int64)
    return CodePoints(_decoded(bytes_of(ended)[0]), np.cumsum(lengths) - lengths)


def _decoded(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """The code points of UTF-8."""
    places = np.flatnonzero((data & 0xC0) != 0x80)
    first = data.take(places)
    points = first.astype(np.uint32)
    wide = np.flatnonzero(first >= 0x80)
    places, first = places[wide], first[wide].astype(np.uint32)
    widths = 2 + (first >= 0xE0).astype(np.uint32) + (first >= 0xF0)
    found = first & (0x7F >> widths)
    for further in range(1, 4):
        longer = np.flatnonzero(widths > further)
        found[longer] = found[longer] << 6 | (data[places[longer] + further] & 0x3F)
    points[wide] = found
    return points


def measure(batch: pa.RecordBatch) -> dict[str, Column]:
    """Columns `letters` and `scripts` (most frequent first, ties by name) of cleaned captions; null where they are."""
    captions: Any = batch["caption"]
    found = code_points(captions)
    script = _without_signs(script_table().take(found.points), found)
    usual, other = script == _USUAL, (script != _USUAL) & (script != NO_SCRIPT)
    names, which = np.unique(script.take(np.flatnonzero(other)), return_inverse=True)
    shape = len(captions), len(names)
    cells = np.bincount(found.rows(other) * len(names) + which, minlength=shape[0] * shape[1])
    counts = np.column_stack([cells.reshape(shape), found.counts(usual)])
    row, column = np.nonzero(counts)
    name: Rows = np.append(names, _USUAL).astype(np.intp)[column]
    letters = counts[row, column]
    order = np.lexsort((name, -letters, row))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(captions)))])
    missing = captions.is_null()
    values: Any = pa.StructArray.from_arrays(
        [some(array(SCRIPTS), name[order]), array(letters[order], pa.int32())],
        fields=list(SCRIPTS_TYPE.value_type),
    )
    return {
        "letters": array(counts.sum(axis=1), pa.int32(), bools(missing)),
        "scripts": lists(offsets, values, SCRIPTS_TYPE, missing),
    }


def _without_signs(script: npt.NDArray[np.uint8], found: CodePoints) -> npt.NDArray[np.uint8]:
    """`script` with NO_SCRIPT for the Greek letters of captions that hold no Greek word."""
    greek = script == _GREEK
    if not greek.any():
        return script
    word = greek.copy()
    for shift in range(1, _WORD):
        word[shift:] &= greek[:-shift]
        word[:shift] = False
    in_words = found.counts(word) > 0
    script = script.copy()
    script[np.flatnonzero(greek)[~in_words[found.rows(greek)]]] = NO_SCRIPT
    return script


FOLDED: Final = {
    "wuu": "zh", "yue": "zh",  # Wu, Cantonese: written Chinese
    "als": "de", "bar": "de", "pfl": "de",  # Alemannic, Bavarian, Palatine German
    "vls": "nl", "sco": "en", "arz": "ar", "azb": "az", "ckb": "ku", "dty": "ne", "pnb": "pa",
}  # fmt: skip
"""Labels of lid.176 for regional varieties, with the language whose readers read them."""

_LATIN: Final = """
    af an ast az bcl bi br bs ca cbk ceb co cs cy da de diq dsb eml en eo es et eu fi fr frr fy ga gd gl gn
    gv ha hif hr hsb ht hu ia id ie ig ilo io is it jbo jv ku kw la lb lg li lmo ln lt lv mg mi min ms mt
    mwl nah nap nb nds nl nn no nso oc om pam pl pms pt qu rm rn ro rw sc scn sh sk sl sm sn so sq sr ss st
    su sv sw tk tl tn to tr ts uz vec vep vi vo wa war wo xh yo zu
"""
_CYRILLIC: Final = """
    av ba be bg bxr ce cv kk krc kv ky lez mhr mk mn mrj myv os ru rue sah tg tt tyv uk xal
"""

SCRIPTS_OF: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(_LATIN.split(), ("Latin",)),
    **dict.fromkeys(_CYRILLIC.split(), ("Cyrillic",)),
    **dict.fromkeys(("ar", "fa", "lrc", "mzn", "ps", "sd", "ug", "ur"), ("Arabic",)),
    **dict.fromkeys(("bh", "bho", "gom", "hi", "mai", "mr", "ne", "new", "sa"), ("Devanagari",)),
    **dict.fromkeys(("as", "bn", "bpy"), ("Bengali",)),
    **dict.fromkeys(("he", "yi"), ("Hebrew",)),
    **dict.fromkeys(("am", "ti"), ("Ethiopic",)),
    **dict.fromkeys(("ka", "xmf"), ("Georgian",)),
    **dict.fromkeys(("bo", "dz"), ("Tibetan",)),
    "az": ("Latin", "Cyrillic", "Arabic"),
    "bs": ("Latin", "Cyrillic"),
    "dv": ("Thaana",),
    "el": ("Greek",),
    "gu": ("Gujarati",),
    "hy": ("Armenian",),
    "ja": ("Han", "Hiragana", "Katakana"),
    "kk": ("Cyrillic", "Latin", "Arabic"),
    "km": ("Khmer",),
    "kn": ("Kannada",),
    "ko": ("Hangul", "Han"),
    "ku": ("Latin", "Arabic"),
    "ky": ("Cyrillic", "Arabic"),
    "lo": ("Lao",),
    "ml": ("Malayalam",),
    "mn": ("Cyrillic", "Mongolian"),
    "ms": ("Latin", "Arabic"),
    "my": ("Myanmar",),
    "or": ("Oriya",),
    "pa": ("Gurmukhi", "Arabic"),
    "sd": ("Arabic", "Devanagari"),
    "sh": ("Latin", "Cyrillic"),
    "si": ("Sinhala",),
    "sr": ("Cyrillic", "Latin"),
    "ta": ("Tamil",),
    "te": ("Telugu",),
    "tg": ("Cyrillic", "Arabic"),
    "th": ("Thai",),
    "tk": ("Latin", "Cyrillic"),
    "tt": ("Cyrillic", "Latin"),
    "ug": ("Arabic", "Cyrillic"),
    "uz": ("Latin", "Cyrillic", "Arabic"),
    "zh": ("Han", "Bopomofo"),
}
"""Language to the Unicode scripts that its writers use, the usual one first; all that lid.176 knows."""

_WITHIN: Final = {"no": ("nb", "nn"), "sh": ("bs", "hr", "sr"), "zh": ("wuu", "yue")}


@lru_cache(1024)
def base(language: str) -> str:
    """The language without its region or script, folded: `zh-TW` and `yue` are `zh`, `pt_BR` is `pt`."""
    plain = language.strip().replace("_", "-").split("-")[0].lower()
    return FOLDED.get(plain, plain)


def admitted(languages: Iterable[str]) -> tuple[str, ...]:
    """Every label that a list of languages admits: `no` admits Bokmål and Nynorsk, and each of those `no`."""
    plain = {base(language) for language in languages}
    for whole, parts in _WITHIN.items():
        if whole in plain:
            plain.update(parts)
    # the model says `no` for Bokmål
    if "nb" in plain:
        plain.add("no")
    return tuple(sorted(plain))


def scripts_of(languages: Sequence[str]) -> tuple[str, ...]:
    """The scripts that the languages are written in, by name; a language that is not known has none."""
    return tuple(sorted({script for language in languages for script in SCRIPTS_OF.get(base(language), ())}))


def written_in(scripts: Iterable[str]) -> frozenset[str]:
    """The languages that are written in any of the scripts."""
    wanted = set(scripts)
    return frozenset(language for language, own in SCRIPTS_OF.items() if wanted & set(own))


class Script(Settings):
    """Drops captions written in scripts other than those of the languages."""

    scripts: tuple[str, ...] | None = Field(
        None,
        description="Unicode names of the scripts allowed, as in Latin, Han; default: those of the languages",
    )
    tolerance: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of the letters that may be of other scripts; Han, kana and Hangul weigh 3",
    )
    latin: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share that may be Latin, where `scripts` is not given and no language is written so: brands",
    )


def foreign_letters(scripts: Any, allowed: Sequence[str]) -> tuple[Counts, Counts]:
    """For each row of the column `scripts` its letters of scripts that are not allowed, and all its letters; foreign
    Han, kana and Hangul weigh HEAVY."""
    size = len(scripts)
    lengths = pc.fill_null(pc.list_value_length(scripts), 0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(size), lengths)
    flat = scripts.flatten()
    names = flat.field("script")
    foreign = ~bools(pc.is_in(names, value_set=array(allowed, pa.string())))
    heavy = foreign & bools(pc.is_in(names, value_set=array(EAST_ASIAN)))
    letters = flat.field("letters").to_numpy(zero_copy_only=False) * np.where(heavy, HEAVY, 1)
    found = np.bincount(rows[foreign], letters[foreign], minlength=size)
    return found.astype(np.int64), np.bincount(rows, letters, minlength=size).astype(np.int64)


def _fails(columns: Columns, settings: Script, languages: Sequence[str]) -> Any:
    allowed = settings.scripts if settings.scripts is not None else scripts_of(languages)
    if not allowed:
        return array(np.zeros(len(columns["scripts"]), bool))
    foreign, letters = foreign_letters(columns["scripts"], allowed)
    fails = foreign > settings.tolerance * letters
    if settings.scripts is None and "Latin" not in allowed:
        # brands, models and units: Latin beside the rest as the language filter weighs them
        other, _ = foreign_letters(columns["scripts"], [*allowed, "Latin"])
        rest, weight = foreign_letters(columns["scripts"], ["Latin"])
        fails &= (other > settings.tolerance * letters) | (weight - rest > settings.latin * weight)
    return array(fails)


FILTER: Final = Filter(
    name="scripts",
    version=2,
    columns={"letters": pa.int32(), "scripts": SCRIPTS_TYPE},
    batch=lambda _: measure,
    libraries=("regex",),
    rules=(
        Rule(
            "script",
            Script,
            ("scripts",),
            _fails,
            lambda row, _: ", ".join(
                f"{one['script']} {one['letters']}" for one in (row["scripts"] or ())[:5]
            ),
            about="caption",
            paper="paper",
        ),
    ),
)
