"""The language signal beside fastText alone: the tables of docs/filters.md.

    python -m benchmarks.language [FOLDER]

FOLDER (default: $VLCORPUS_TEST_DATA) holds langid/sentences.tsv (language, kind, text) and
pairs/pairs.jsonl (captions with their language). `und` counts as wrong, and is shown by itself.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import fasttext
import pyarrow as pa

from filters.caption import Captions, CaptionSettings
from filters.language import Language, LanguageSettings, model_of_the_wheel
from filters.rules import failures
from filters.scripts import measure as scripts_of
from filters.table import RuleSettings

ALLOWED = ("en", "zh")


def main() -> None:
    """Prints the tables as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", default=os.environ.get("VLCORPUS_TEST_DATA"))
    folder = parser.parse_args().folder
    if not folder:
        sys.exit("give the folder of test data, or set VLCORPUS_TEST_DATA")
    language = Language(LanguageSettings())
    told = list(sentences(Path(folder)))
    accuracy(told, language)
    pairs = captions(Path(folder))
    accuracy([(name, "caption", text) for name, text in pairs], language)
    rules(pairs, language)
    speed([text for _, text in pairs] + [text for _, _, text in told], language)


def sentences(folder: Path) -> Iterable[tuple[str, str, str]]:
    """(language, kind, text) of the published sentences, word pairs and words."""
    with (folder / "langid/sentences.tsv").open(encoding="utf-8") as file:
        next(file)
        for line in file:
            name, kind, text = line.rstrip("\n").split("\t")
            yield name, kind, text


def captions(folder: Path) -> list[tuple[str, str]]:
    """(language, caption) of the pairs, each once."""
    with (folder / "pairs/pairs.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return sorted({(row["lang"], text) for row in rows for text in (row["caption"], *row["captions"])})


def signals(texts: list[str], language: Language) -> dict[str, Any]:
    """The text columns of the measure phase."""
    columns: dict[str, Any] = {"caption_raw": pa.array(texts, pa.string())}
    for measure in (Captions(CaptionSettings()).measure, scripts_of, language.measure):
        columns |= measure(pa.RecordBatch.from_pydict(columns))
    return columns


@cache
def _model() -> Any:
    return fasttext.load_model(str(model_of_the_wheel()))


def alone(text: str) -> str:
    """Returns the first label that fastText itself gives a text."""
    (label,), _ = _model().predict(text.replace("\n", " "))
    return str(label.removeprefix("__label__"))


def accuracy(rows: list[tuple[str, str, str]], language: Language) -> None:
    """Right answers in %, ours and fastText's, by kind and language."""
    ours = signals([text for _, _, text in rows], language)["language"].to_pylist()
    count, right, undetermined, bare = Counter[Any](), Counter[Any](), Counter[Any](), Counter[Any]()
    for (name, kind, text), mine in zip(rows, ours, strict=True):
        key = (kind, name)
        count[key] += 1
        right[key] += mine == name
        undetermined[key] += mine == "und"
        bare[key] += alone(text) == name
    print("\n| kind | language | texts | right | undetermined | fastText alone |\n|---|---|--:|--:|--:|--:|")
    for key in sorted(count):
        shares = " | ".join(f"{100 * part[key] / count[key]:.1f}" for part in (right, undetermined, bare))
        print(f"| {key[0]} | {key[1]} | {count[key]} | {shares} |")


def rules(pairs: list[tuple[str, str]], language: Language) -> None:
    """Captions dropped in %, by the rule `language` and by any rule over text, with ALLOWED."""
    table = pa.table(signals([text for _, text in pairs], language))
    names = failures(table, RuleSettings(), ALLOWED).to_pylist()
    count, by_language, by_any = Counter[str](), Counter[str](), Counter[str]()
    for (name, _), failed in zip(pairs, names, strict=True):
        count[name] += 1
        by_language[name] += "language" in failed
        by_any[name] += bool(failed)
    print("\n| language | captions | dropped by `language` | by any text rule |\n|---|--:|--:|--:|")
    for name in sorted(count):
        print(f"| {name} | {count[name]} | {100 * by_language[name] / count[name]:.1f} | ", end="")
        print(f"{100 * by_any[name] / count[name]:.1f} |")


def speed(texts: list[str], language: Language) -> None:
    """CPU time a caption of each filter, and of fastText alone."""
    cleaner = Captions(CaptionSettings())
    batch = pa.RecordBatch.from_pydict(signals(texts, language))
    steps: dict[str, Callable[[], Any]] = {
        "caption": lambda: cleaner.measure(batch),
        "scripts": lambda: scripts_of(batch),
        "language": lambda: language.measure(batch),
        "fastText alone": lambda: [alone(text) for text in texts],
    }
    print(f"\n| filter | microseconds a caption ({len(texts)} captions, best of 5) |\n|---|--:|")
    for name, step in steps.items():
        times = []
        for _ in range(5):
            start = time.process_time()
            step()
            times.append(time.process_time() - start)
        print(f"| {name} | {1e6 * min(times) / len(texts):.1f} |")


if __name__ == "__main__":
    main()
