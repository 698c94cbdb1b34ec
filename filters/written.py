"""Which languages there are, by what the language model calls them, and the scripts they are written in."""

from collections.abc import Iterable, Sequence
from typing import Final

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
