"""What the text rules keep of real captions, as they are, with something appended, and damaged: docs/filters.md.

    python -m benchmarks.captions [FOLDER]

FOLDER (default: $VLCORPUS_TEST_DATA) holds pairs/pairs.jsonl and langid/sentences.tsv. Thresholds were chosen on
the captions whose SHA-256 is even; the tables show both halves, `chosen on | other`.
"""

import argparse
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pyarrow as pa

from benchmarks.language import captions, sentences, signals
from filters.arrow import pc
from filters.damage import restored
from filters.language import Language, LanguageSettings
from filters.rules import failures
from filters.table import RuleSettings

ALLOWED: Final = ("en", "zh")
ADDED: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "shop and domain": {
        "en": ("{} - Amazon.com", "{} | example.com", "{} – eBay", "{} from www.shop.example.com"),
        "zh": ("{}-淘宝网taobao.com", "{} - 淘宝网", "{}_去哪儿网qunar.com", "{}|京东JD.COM"),
    },
    "address": dict.fromkeys(
        ALLOWED, ("{}www.example.com", "{} https://example.com/p/1.html", "{} www.example.org")
    ),
    "brand": {
        "en": ("{} Nike", "iPhone 15 Pro {}", "{} LED", "{} (BMW X5)"),
        "zh": ("{}Nike", "iPhone 15 Pro {}", "{}T恤", "{} LED", "{}（BMW X5）", "{} Samsung"),
    },
    "sign": dict.fromkeys(ALLOWED, ("{} ★", "{}™", "► {}", "{} ✔", "{}♥", "{} »", "{} ©2019")),
    "size or code": dict.fromkeys(
        ALLOWED, ("{}_1920x1080", "{} (800×800)", "{}-20190314", "{} 12345678901", "{}.jpg")
    ),
    "unit": dict.fromkeys(ALLOWED, ("{} 5 μm", "{} 10 kΩ", "{} α", "{} 20 ℃", "π=3.14159265358979 {}")),
}
SIGNS: Final[dict[str, Callable[[str], str]]] = {
    "▶": lambda text: f"▶ {text}",
    "»": lambda text: f"» {text}",
    "„ “": lambda text: f"„{text}“",
    "✔ ★": lambda text: f"✔ {text} ★",
    "full-width": lambda text: "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text),
    "mathematical": lambda text: "".join(_bold(one) for one in text),
}


def main() -> None:
    """Prints the tables as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", default=os.environ.get("VLCORPUS_TEST_DATA"))
    folder = parser.parse_args().folder
    if not folder:
        sys.exit("give the folder of test data, or set VLCORPUS_TEST_DATA")
    judge = Judge()
    pairs = captions(Path(folder))
    known = [(name, text) for name, _, text in sentences(Path(folder))]
    kept(judge, pairs)
    appended(judge, [(name, text) for name, text in pairs if name in ALLOWED])
    damaged(judge, pairs, [text for name, text in known if name == "ja"])
    clean(judge, [text for _, text in pairs], [text for _, text in known])
    signs(judge, pairs + known)


class Judge:
    """Captions to what the text rules say of them, by default settings."""

    def __init__(self) -> None:
        self._language = Language(LanguageSettings())

    def signals(self, texts: Sequence[str]) -> pa.Table:
        """The text columns of the measure phase."""
        return pa.table(signals(list(texts), self._language))

    def failed(self, texts: Sequence[str], languages: Sequence[str] = ALLOWED) -> list[list[str]]:
        """The text rules that each caption fails."""
        lists: list[list[str]] = failures(self.signals(texts), RuleSettings(), languages).to_pylist()
        return lists


def half(text: str) -> int:
    """0 for the half of the captions on which thresholds were chosen, 1 for the other."""
    return hashlib.sha256(text.encode()).digest()[0] % 2


def kept(judge: Judge, pairs: list[tuple[str, str]]) -> None:
    """Captions kept in %, of each language in a recipe of that language, and with ALLOWED."""
    rows = []
    for name in sorted({name for name, _ in pairs}):
        texts = [text for own, text in pairs if own == name]
        for languages in dict.fromkeys(((name,), ALLOWED if name in ALLOWED else (name,))):
            good = [not names for names in judge.failed(texts, languages)]
            rows.append((f"{name} | {', '.join(languages)}", len(texts), _halves(texts, good)))
    _table("caption | languages", rows)


def appended(judge: Judge, pairs: list[tuple[str, str]]) -> None:
    """Of the captions kept as they are, those kept in % with something added, with ALLOWED and alone."""
    rows = []
    for kind, forms in ADDED.items():
        for name in ALLOWED:
            for languages in ((name,), ALLOWED):
                texts = [text for own, text in pairs if own == name]
                sound = [
                    text
                    for text, names in zip(texts, judge.failed(texts, languages), strict=True)
                    if not names
                ]
                more = [(text, form.replace("{}", text)) for text in sound for form in forms[name]]
                good = [not names for names in judge.failed([text for _, text in more], languages)]
                rows.append(
                    (
                        f"{kind} | {name} | {', '.join(languages)}",
                        len(more),
                        _halves([t for t, _ in more], good),
                    )
                )
    _table("added | caption | languages", rows)


def _read(encoding: str, other: str, errors: str = "replace") -> Callable[[str], str]:
    return lambda text: text.encode(encoding, "ignore").decode(other, errors)


def _units(text: str) -> str:
    data = text.encode("utf-16-be")
    units = (data[at : at + 2] for at in range(0, len(data), 2))
    return "".join(chr(one[1]) if one < b"\x00\x80" else f"\\u{one.hex()}" for one in units)


DAMAGE: Final[dict[str, tuple[str, Callable[[str], str]]]] = {
    "UTF-8 read as GBK": ("utf-8", _read("utf-8", "gbk")),
    "UTF-8 read as GBK, bytes lost": ("utf-8", _read("utf-8", "gbk", "ignore")),
    "UTF-8 read as GB 18030": ("utf-8", _read("utf-8", "gb18030")),
    "UTF-8 read as Latin-1": ("utf-8", _read("utf-8", "latin-1")),
    "GBK read as Latin-1": ("gbk", _read("gbk", "latin-1")),
    "GBK read as cp1252": ("gbk", _read("gbk", "cp1252")),
    "Big5 read as Latin-1": ("big5", _read("big5", "latin-1")),
    "Big5 read as cp1252": ("big5", _read("big5", "cp1252")),
    "Shift-JIS read as Latin-1": ("cp932", _read("cp932", "latin-1")),
    "Shift-JIS read as cp1252": ("cp932", _read("cp932", "cp1252")),
    r"literal \uXXXX": ("utf-8", _units),
    "percent-encoding": ("utf-8", quote),
    "percent-encoding of GBK": ("gbk", lambda text: quote(text.encode("gbk", "ignore"))),
    "U+FFFD": ("utf-8", lambda text: f"{text[: len(text) // 2]}\ufffd{text[len(text) // 2 + 1 :]}"),
    "锟斤拷": ("utf-8", lambda text: f"{text[: len(text) // 2]}锟斤拷{text[len(text) // 2 + 1 :]}"),
    "lone surrogate": (
        "utf-8",
        lambda text: f"{text[:1]}\ud83d{text[1:]}".encode("utf-8", "surrogatepass").decode(
            "utf-8", "replace"
        ),
    ),
}


def damaged(judge: Judge, pairs: list[tuple[str, str]], japanese: list[str]) -> None:
    """Of damaged captions, in %: those repaired to the letter, those dropped, and both, which is right."""
    rows = []
    for kind, (encoding, damage) in DAMAGE.items():
        for name in ("zh", "vi", "pl", "es", "ja"):
            texts = japanese if name == "ja" else [text for own, text in pairs if own == name]
            # what the encoding cannot write is no part of the test
            sound = [text.encode(encoding, "ignore").decode(encoding) for text in texts]
            whole = [one == text for one, text in zip(sound, texts, strict=True)]
            kept_most = sum(whole) > len(texts) / 2 or name == "zh"
            both = [(one, damage(one)) for one in sound if kept_most and one and damage(one) != one]
            if both:
                rows.append((f"{kind} | {name}", len(both), _repaired(judge, both)))
    _table("damage | caption", rows, "repaired | dropped | right, chosen on | right, other")


def _repaired(judge: Judge, both: list[tuple[str, str]]) -> str:
    wanted = judge.signals([text for text, _ in both]).column("caption").to_pylist()
    found = judge.signals([text for _, text in both]).column("caption").to_pylist()
    names = judge.failed([text for _, text in both], ())
    repaired = [a == b for a, b in zip(wanted, found, strict=True)]
    dropped = [bool(one) and not same for one, same in zip(names, repaired, strict=True)]
    right = [a or b for a, b in zip(repaired, dropped, strict=True)]
    shares = f"{100 * sum(repaired) / len(both):.1f} | {100 * sum(dropped) / len(both):.1f}"
    return f"{shares} | {_halves([text for text, _ in both], right)}"


def clean(judge: Judge, pairs: list[str], known: list[str]) -> None:
    """Captions that cleaning changed by more than white space; sentences too that were repaired, called damaged."""
    table = judge.signals([*pairs, *known])
    now = table.column("caption").to_pylist()[: len(pairs)]
    changed = [text for text, one in zip(pairs, now, strict=True) if text.split() != one.split()]
    repaired = [text for text in (*pairs, *known) if restored(text) != text]
    called = pc.count(table.column("damage")).as_py()
    print(f"\n{len(pairs)} captions: {len(changed)} changed; with {len(known)} sentences: ", end="")
    print(f"{len(repaired)} taken for damaged and repaired, {called} called damaged")


def signs(judge: Judge, texts: list[tuple[str, str]]) -> None:
    """Right languages in % as they are and with signs, and the language that loses most."""
    total = Counter(name for name, _ in texts)

    def right(change: Callable[[str], str]) -> Counter[str]:
        found = judge.signals([change(text) for _, text in texts]).column("language").to_pylist()
        return Counter(name for (name, _), mine in zip(texts, found, strict=True) if mine == name)

    plain = right(str)
    print("\n| signs | texts | right | as they are | largest loss in a language |\n|---|--:|--:|--:|---|")
    for kind, change in SIGNS.items():
        now = right(change)
        loss, worst = max((plain[name] - now[name], name) for name in total)
        shares = f"{100 * now.total() / len(texts):.2f} | {100 * plain.total() / len(texts):.2f}"
        print(f"| {kind} | {len(texts)} | {shares} | {worst}: {loss} of {total[worst]} |")


def _bold(one: str) -> str:
    if "A" <= one <= "Z":
        return chr(ord(one) - ord("A") + 0x1D400)
    return chr(ord(one) - ord("a") + 0x1D41A) if "a" <= one <= "z" else one


def _halves(texts: Sequence[str], good: Sequence[bool]) -> str:
    shares = []
    for number in (0, 1):
        own = [one for text, one in zip(texts, good, strict=True) if half(text) == number]
        shares.append(f"{100 * sum(own) / max(len(own), 1):.1f}")
    return " | ".join(shares)


def _table(head: str, rows: Iterable[tuple[str, int, str]], shares: str = "chosen on | other") -> None:
    columns = head.count("|") + 1
    print(f"\n| {head} | n | {shares} |\n|{'---|' * columns}--:|{'--:|' * (shares.count('|') + 1)}")
    for name, count, values in rows:
        print(f"| {name} | {count} | {values} |")


if __name__ == "__main__":
    main()
