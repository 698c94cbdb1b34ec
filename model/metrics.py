"""What answers are worth: pure functions from texts and boxes to numbers."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from schemas.errors import InputError, missing
from schemas.sample import Box

_WORD: Final = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W_]+(?:'[^\W_]+)?")
_SAME: Final = 0.5
"""The overlap from which on two boxes are of the same thing."""
_ARTICLES: Final = frozenset({"a", "an", "the"})
_NUMBERS: Final = {
    name: str(number)
    for number, name in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}


def words(text: str) -> list[str]:
    """Returns lower-case words without punctuation; each Han character is a word."""
    return _WORD.findall(text.lower())


def answer(text: str) -> str:
    """Returns an answer as it is compared: words without articles, numbers in digits."""
    return " ".join(_NUMBERS.get(word, word) for word in words(text) if word not in _ARTICLES)


def vqa_score(given: str, answers: Sequence[str]) -> float:
    """Returns 0 to 1: the mean over annotators of min(1, how many of the others gave this answer / 3).

    With fewer than four answers there are no three others: then 1 where any of them is the same.
    """
    same = answer(given)
    matches = [answer(one) == same for one in answers]
    if len(answers) < 4:
        return float(any(matches))
    agreed = sum(matches)
    return sum(min(1.0, (agreed - match) / 3) for match in matches) / len(matches)


def iou(a: Box, b: Box) -> float:
    """Returns intersection over union; 0 for boxes without area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    either = _area(a) + _area(b) - both
    return both / either if either > 0 else 0.0


def hit(given: Box | None, truth: Sequence[Box]) -> bool:
    """Returns whether the box found lies on one of the true boxes; finding none is a miss."""
    return given is not None and any(iou(given, one) >= _SAME for one in truth)


def pair_f1(given: Sequence[tuple[str, Box]], truth: Sequence[tuple[str, Box]]) -> tuple[int, int, int]:
    """Returns (hits, given, true): phrases with boxes, each true one found at most once, best overlap first."""
    found = sorted(
        (-iou(a[1], b[1]), i, j)
        for i, a in enumerate(given)
        for j, b in enumerate(truth)
        if a[0] == b[0] and iou(a[1], b[1]) >= _SAME
    )
    ours: set[int] = set()
    theirs: set[int] = set()
    for _, i, j in found:
        if i not in ours and j not in theirs:
            ours.add(i)
            theirs.add(j)
    return len(ours), len(given), len(truth)


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def edits(first: str, second: str) -> int:
    """Returns the fewest letters put in, taken out or changed. Raises InputError without rapidfuzz."""
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError as error:
        raise InputError(missing("counting wrong letters", "rapidfuzz")) from error
    return Levenshtein.distance(first, second)


def anls(given: str, answers: Sequence[str]) -> float:
    """Returns 1 less the smallest distance by length, over the answers; 0 where that is a half or more."""
    best = 0.0
    for answer in answers:
        a, b = " ".join(given.lower().split()), " ".join(answer.lower().split())
        longest = max(len(a), len(b))
        apart = edits(a, b) / longest if longest else 0.0
        best = max(best, 1 - apart if apart < 0.5 else 0.0)
    return best


def error_rate(given: Sequence[str], truth: Sequence[str]) -> float:
    """Returns letters wrong by letters true, over all texts; it may be above 1. Runs of spaces count as one."""
    pairs = [(" ".join(a.split()), " ".join(b.split())) for a, b in zip(given, truth, strict=True)]
    return sum(edits(a, b) for a, b in pairs) / max(sum(len(b) for _, b in pairs), 1)


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
    """Returns the things that a caption names: `red circle`, twice for `two red circles`.

    A thing is what stands between words that only join. There is no list of things, so caption and truth, cut
    alike, must agree word for word; sizes and backgrounds are left out.
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
    """Returns F1 over all captions' objects against what the images hold."""
    hits = given = true = 0
    for caption, each in zip(captions, truth, strict=True):
        own = objects(caption)
        hits, given, true = hits + (own & each).total(), given + own.total(), true + each.total()
    return 2 * hits / (given + true) if given + true else 1.0


Gram = tuple[str, ...]

_LONGEST: Final = 4
_SIGMA: Final = 6.0


def cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Returns the score of each caption against its image's references, 0 to 10; their mean is the set's CIDEr.

    Document frequencies are counted over the images' references. ValueError where an image has none.
    """
    if len(captions) != len(references) or not all(references):
        raise ValueError("each caption needs at least one reference")
    counted = [[_grams(one) for one in each] for each in references]
    frequency: Counter[Gram] = Counter()
    for each in counted:
        frequency.update({gram for counts in each for gram in counts})
    images = math.log(len(captions)) if captions else 0.0

    def vectors(counts: Counter[Gram]) -> list[dict[Gram, float]]:
        weights: list[dict[Gram, float]] = [{} for _ in range(_LONGEST)]
        for gram, count in counts.items():
            weights[len(gram) - 1][gram] = count * (images - math.log(max(frequency[gram], 1)))
        return weights

    scores = []
    for caption, each in zip(captions, counted, strict=True):
        own = _grams(caption)
        mine = vectors(own)
        total = sum(_likeness(mine, vectors(one), _length(own) - _length(one)) for one in each)
        scores.append(10.0 * total / len(each))
    return scores


def _grams(text: str) -> Counter[Gram]:
    listed = words(text)
    return Counter(
        tuple(listed[at : at + size])
        for size in range(1, _LONGEST + 1)
        for at in range(len(listed) - size + 1)
    )


def _length(counts: Counter[Gram]) -> int:
    return sum(count for gram, count in counts.items() if len(gram) == 1)


def _likeness(mine: list[dict[Gram, float]], theirs: list[dict[Gram, float]], longer: int) -> float:
    """Returns the mean over n of the cosines, clipped so that repeating a word earns nothing, less for length."""
    total = 0.0
    for a, b in zip(mine, theirs, strict=True):
        norm = math.sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
        if norm:
            total += sum(min(value, b[gram]) * b[gram] for gram, value in a.items() if gram in b) / norm
    return total / _LONGEST * math.exp(-(longer**2) / (2 * _SIGMA**2))
