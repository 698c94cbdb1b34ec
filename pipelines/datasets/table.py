"""The annotation datasets that can be read: ours, and those that installed packages give."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pipelines.datasets import (
    coco,
    conversations,
    flickr30k,
    grit,
    interleaved,
    ocr_labels,
    pages,
    prompted,
    refcoco,
    tuples,
    visual_genome,
    vqa,
)
from pipelines.datasets.dataset import Dataset, Glimpse
from pipelines.datasets.rows import columns_of, is_parquet
from pipelines.files import Store
from schemas import plugins
from schemas.plugins import Plugin

DATASETS: Final[dict[str, Dataset]] = {
    "grounding": tuples.GROUNDING,
    "grit": grit.GRIT,
    "grit_greedy": grit.GREEDY,
    "flickr30k": flickr30k.FLICKR30K,
    "visual_genome": visual_genome.REGIONS,
    "refcoco": refcoco.REFCOCO,
    "vqav2": vqa.VQAV2,
    "vgqa": visual_genome.QUESTIONS,
    "gqa": vqa.GQA,
    "ocrvqa": vqa.OCRVQA,
    "docvqa": vqa.DOCVQA,
    "textvqa": vqa.TEXTVQA,
    "chartqa": vqa.CHARTQA,
    "dvqa": vqa.DVQA,
    "ai2d": vqa.AI2D,
    "qwen": conversations.QWEN,
    "qwen2_vl": conversations.QWEN2_VL,
    "qwen2_5_vl": conversations.QWEN2_5_VL,
    "qwen3_vl": conversations.QWEN3_VL,
    "llava": conversations.LLAVA,
    "conversations": conversations.CONVERSATIONS,
    "conversations_lines": conversations.LINES,
    "paligemma": prompted.PALIGEMMA,
    "kosmos2": prompted.KOSMOS2,
    "mmc4": interleaved.MMC4,
    "obelics": interleaved.OBELICS,
    "pages": pages.PAGES,
    "ocr_labels": ocr_labels.OCR_LABELS,
    "coco_captions": coco.CAPTIONS,
    "coco_instances": coco.INSTANCES,
}
"""Our datasets by the `format` of a recipe's source."""


_READ: Final = 64 * 1024
"""Bytes of each end of a file, or characters of a record, that tell its format."""

_FIELD: Final = re.compile(r"\"([A-Za-z_][A-Za-z_0-9]{0,60})\"\s*:")
"""The name of a field in JSON; in a text that holds JSON the quotes stand behind backslashes."""

_SUGGESTED: Final = re.compile(r"(?:\(it looks like|: say) format: (\w+(?: or \w+)*)(?:\)|\Z)")

_PICKLES: Final = (b"\x80", b"(lp")

_BETTER: Final = 0.6
"""By so much another format must fit better than the one that the recipe names, to be suggested."""


def find(name: str) -> tuple[Dataset, Plugin | None]:
    """Returns the dataset of that name, and the package that gives it where it is not ours.

    Raises RecipeError where there is none.
    """
    return plugins.lookup(plugins.DATASETS, name, DATASETS, Dataset)


def recognise(seen: Glimpse, least: float = 1.0) -> str | None:
    """Returns the one dataset that fits best what is seen; None where none fits at least so well."""
    alone = [names for _, names in fitting(seen, least) if len(names) == 1]
    return alone[0][0] if alone else None


def fitting(seen: Glimpse, least: float) -> list[tuple[float, list[str]]]:
    """Returns how well datasets fit what is seen, at least so well, the best first, each with the names of those."""
    fits = {name: _fit(name, seen) for name in (*DATASETS, *plugins.names(plugins.DATASETS))}
    scores = sorted({one for one in fits.values() if one >= least}, reverse=True)
    return [(score, [name for name in fits if fits[name] == score]) for score in scores]


def _fit(name: str, seen: Glimpse) -> float:
    recognised = find(name)[0].recognised
    return 0.0 if recognised is None else float(recognised(seen))


def format_of(store: Store, path: str) -> str | None:
    """Returns the format of a JSON document or of JSON lines; None where the ends do not tell."""
    return recognise(glimpse(store, path))


def suggestion(form: str, seen: Glimpse) -> str:
    """Returns the end of a sentence that names the format of what is seen; empty where that may well be `form`."""
    others = better(form, seen)
    return looks_like(" or ".join(others)) if others else ""


def remedy(form: str, seen: Glimpse) -> str:
    """Returns the end of a sentence on a file that `form` cannot read; empty where no other format may read it."""
    others = better(form, seen)
    if others and find(others[0])[0].tasks == find(form)[0].tasks:  # the same records in another form
        return f"; say format: {' or '.join(others)}"
    return suggestion(form, seen)


def better(form: str, seen: Glimpse) -> list[str]:
    """Returns the names of the formats that fit what is seen best, if better than `form` does."""
    if find(form)[0].recognised is None:
        return []
    others = fitting(seen, _fit(form, seen) + _BETTER)
    return others[0][1] if others else []


def looks_like(form: str) -> str:
    """Returns the end of a sentence that suggests a format."""
    return f" (it looks like format: {form})"


def formats_named(sentences: Iterable[str]) -> Iterator[str]:
    """Yields the format that each sentence suggests, of those that do."""
    return (found[1] for one in sentences if (found := _SUGGESTED.search(one)))


def glimpse(store: Store, path: str) -> Glimpse:
    """Returns a look at the ends of a file."""
    if store.is_folder(path):
        return Glimpse("", frozenset())
    size = store.info(path).size
    with store.open(path) as file, store.reading(path):
        if is_parquet(file):
            return Glimpse("parquet", frozenset(columns_of(file)))
        first = file.read(_READ)
        file.seek(max(size - _READ, 0) & ~3)  # whole characters of UTF-16 and UTF-32
        last = file.read(_READ) if size > _READ else b""
    encoding = json.detect_encoding(first)
    start = first.decode(encoding, "ignore").lstrip("\ufeff \t\r\n")
    form = "pickle" if first.startswith(_PICKLES) else _form(start)
    return look(f"{start}\n{last.decode(encoding, 'ignore')}", form)


def glance(value: Mapping[str, Any]) -> Glimpse:
    """Returns a look at one record."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):  # a pickle may hold itself, and keys of any kind
        return Glimpse("", frozenset(map(str, value)))
    return look(text[:_READ], "")


def look(text: str, form: str) -> Glimpse:
    """Returns a look at a text of JSON in some form."""
    return Glimpse(form, frozenset(_FIELD.findall(text)), text)


def _form(start: str) -> str:
    """Returns the form of a file that begins so."""
    if start.startswith("["):
        return "list"
    first, _, more = start.partition("\n")
    return "lines" if _is_object(first) and more.strip() else "object"


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):  # an object over several lines, or one that is cut
        return False
