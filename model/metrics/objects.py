"""The objects that a caption names, with their attributes, and how many of them a caption got right."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from model.metrics.words import words

_JOINING: Final = (
    "a an the and or with on in of at by to from near next beside behind under over above below between left "
    "right top bottom side front back is are was were there this that it its picture image photo scene shows "
    "showing shown see we one you can has have while which against before drawn here background ground plain "
    "objects object things thing shapes shape together drawing photograph"
)
_BREAKS: Final = frozenset(_JOINING.split())
_COUNTS: Final = {"two": 2, "three": 3, "four": 4, "five": 5, "2": 2, "3": 3, "4": 4, "5": 5}
# said of some objects and not of others, as the writer pleases
_SIZES: Final = frozenset({"small", "large", "big", "little", "tiny", "huge", "medium"})
_HAN: Final = re.compile(r"[\u3400-\u9fff]")
_HAN_COUNTS: Final = {"两": 2, "三": 3, "四": 4, "五": 5}
_HAN_GROUND: Final = re.compile(r"[^，。、：,.:\s在上]*背景")
_HAN_BREAKS: Final = re.compile(
    r"[和与及、，。；：,.;:\s有在是]|这里|那里|图中|图里|画面|图片|照片|这?一?张|可以看到|共|[两三四五]?个?图形|画着|[左右上下前后][面边方侧]|[里上中]"
)
_HAN_THING: Final = re.compile(r"(?:([一两三四五])[个只块颗座条张片朵枚]?)?(.+)")


def objects(caption: str) -> Counter[str]:
    """What a caption names, as words between words that only join: `red circle`, twice for `two red circles`.

    It knows no list of things, so caption and truth, cut alike, must agree word for word; sizes and
    backgrounds are left out.
    """
    if len(_HAN.findall(caption)) * 2 > len(caption.strip()):
        return _han_objects(caption)
    found: Counter[str] = Counter()
    for part in re.split(r"[.,;:!?()\n]", caption):
        run: list[str] = []
        count = 1
        for word in [*words(part), "and"]:
            if word in _SIZES:
                continue
            if word == "background":
                run = []
            if word in _BREAKS or word in _COUNTS:
                if run:
                    found[" ".join([*run[:-1], _singular(run[-1], count)])] += count
                    run, count = [], 1
                count = _COUNTS.get(word, count)
            else:
                run.append(word)
    return found


def _singular(word: str, count: int) -> str:
    if count == 1 or not word.endswith("s"):
        return word
    return word[:-2] if word.endswith(("sses", "xes", "ches", "shes")) else word[:-1]


def _han_objects(caption: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for part in _HAN_BREAKS.split(_HAN_GROUND.sub("，", caption)):
        match = _HAN_THING.fullmatch(part.strip("的了着"))
        if match:
            thing = re.sub(r"^[大小]|(?<=的)[大小]", "", match[2])
            found[thing] += _HAN_COUNTS.get(match[1] or "一", 1)
    return found


def object_f1(captions: Sequence[str], truth: Sequence[Counter[str]]) -> float:
    """F1 over all captions' objects against what the pictures hold."""
    hits = given = true = 0
    for caption, each in zip(captions, truth, strict=True):
        own = objects(caption)
        hits, given, true = hits + (own & each).total(), given + own.total(), true + each.total()
    return 2 * hits / (given + true) if given + true else 1.0
