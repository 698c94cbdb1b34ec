"""What each task asks of a model's answer: how long it may be, what it should say, how it is scored."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from model.metrics import anls, answer, cider, error_rate, hit, object_f1, objects, pair_f1, vqa_score
from schemas.markup import parse_lenient
from schemas.sample import Box, Example, Phrase, Segment, Text, words_of


@dataclass(slots=True)
class Known:
    """What all samples together say of each image, by its SHA-256."""

    phrases: dict[str, dict[str, set[Box]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    captions: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    answers: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, sample: Example) -> None:
        if not sample.images:
            return
        image = sample.images[0].sha256
        for phrase in sample.phrases if sample.task != "ocr" else ():
            self.phrases[image][phrase.phrase] |= set(phrase.boxes)
        if sample.task == "caption":
            self.captions[image, sample.language].append(taught_words(sample))
        if sample.task == "vqa":
            self.answers[image, asked(sample)].append(taught_words(sample))

    def count(self, image: str) -> int:
        """Returns how many objects of an image are known by their boxes."""
        return len(set().union(*self.phrases[image].values())) if image in self.phrases else 0

    def objects(self, sample: Example) -> Counter[str]:
        """Returns the objects of a sample's image: phrases with boxes where they are known, else what captions say."""
        image = sample.images[0].sha256
        found: Counter[str] = Counter()
        for phrase, boxes in self.phrases.get(image, {}).items():
            for name, count in objects(phrase).items():
                found[name] = max(found[name], count * len(boxes))
        for caption in self.captions[image, sample.language] if not found else ():
            found |= objects(caption)
        return found


@dataclass(frozen=True, slots=True)
class Answered:
    """A sample, and what a model wrote for it."""

    sample: Example
    text: str

    @property
    def image(self) -> str:
        """Returns the SHA-256 of the image, empty where there is none."""
        return self.sample.images[0].sha256 if self.sample.images else ""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Returns what can be read of the answer's markup."""
        sizes = [(one.width, one.height) for one in self.sample.images]
        return parse_lenient(self.text, sizes, 0).segments

    @property
    def phrases(self) -> list[Phrase]:
        """Returns phrases and boxes in the answer, as far as they can be read."""
        return [one for one in self.segments if isinstance(one, Phrase)]

    @property
    def words(self) -> str:
        """Returns the answer's words without markup."""
        return words_of(self.segments).strip()


def taught_words(sample: Example) -> str:
    """Returns the words that are taught."""
    taught = (one for one in sample.segments if isinstance(one, Text | Phrase) and one.supervised)
    return ("\n" if sample.task == "ocr" else "").join(words_of([one]) for one in taught).strip()


def asked(sample: Example) -> str:
    """Returns the words that stand before what is taught."""
    texts = (one for one in sample.segments if isinstance(one, Text) and not one.supervised)
    return words_of(texts).strip()


def true_boxes(sample: Example) -> list[tuple[str, Box]]:
    """Returns each box of a sample with its phrase."""
    return [(phrase.phrase, box) for phrase in sample.phrases for box in phrase.boxes]


Figures = dict[str, float]


def captions(answered: Sequence[Answered], known: Known) -> Figures:
    """Returns `cider` against all captions of the image in that language, `f1` over its objects."""
    references = [known.captions[one.image, one.sample.language] for one in answered]
    texts = [one.words for one in answered]
    scores = cider(texts, references)
    truth = [known.objects(one.sample) for one in answered]
    return {"f1": object_f1(texts, truth), "cider": sum(scores) / len(scores)}


def vqa(answered: Sequence[Answered], known: Known) -> Figures:
    """Returns `accuracy`: the VQA score."""
    scores = [vqa_score(one.words, known.answers[one.image, asked(one.sample)]) for one in answered]
    return {"accuracy": sum(scores) / len(scores)}


def referring(answered: Sequence[Answered], known: Known) -> Figures:
    """Returns `acc@0.5`: the first box found against the phrase's own."""
    hits = [hit(first_box(one), [box for _, box in true_boxes(one.sample)]) for one in answered]
    return {"acc@0.5": sum(hits) / len(hits)}


def grounding(answered: Sequence[Answered], known: Known) -> Figures:
    """Returns `f1` over phrases with their boxes."""
    hits = given = true = 0
    for one in answered:
        found = [(phrase.phrase.strip(), box) for phrase in one.phrases for box in phrase.boxes]
        counts = pair_f1(found, true_boxes(one.sample))
        hits, given, true = hits + counts[0], given + counts[1], true + counts[2]
    return {"f1": 2 * hits / (given + true) if given + true else 1.0}


def grounded_caption(answered: Sequence[Answered], known: Known) -> Figures:
    """Returns `accuracy`: the phrase is the very one."""
    return {
        "accuracy": sum(answer(one.words) == answer(taught_words(one.sample)) for one in answered)
        / len(answered)
    }


def ocr(answered: Sequence[Answered], known: Known) -> Figures:
    """Returns `cer`, the character error rate (lower is better), and `anls`, over a page's lines in reading order."""
    given = [lines(one) for one in answered]
    truth = [taught_words(one.sample) for one in answered]
    nearness = [anls(a, [b]) for a, b in zip(given, truth, strict=True)]
    return {"cer": error_rate(given, truth), "anls": sum(nearness) / len(nearness)}


def lines(answered: Answered) -> str:
    phrases = [phrase.phrase for phrase in answered.phrases]
    return "\n".join(phrases) if phrases else answered.words


def first_box(answered: Answered) -> Box | None:
    return next((box for phrase in answered.phrases for box in phrase.boxes), None)


Scorer = Callable[[Sequence[Answered], Known], dict[str, Any]]


class Scoring(NamedTuple):
    """How answers are made and scored: at most `limit` new tokens, all at once by `score`; `headlines` are the
    figures that a judgement counts, all 0 to 1, higher is better.
    """

    limit: int
    score: Scorer
    headlines: tuple[str, ...]


ANSWERED: Final = {
    "caption": Scoring(80, captions, ("f1", "choice")),
    "vqa": Scoring(16, vqa, ("accuracy",)),
    "referring": Scoring(40, referring, ("acc@0.5",)),
    "grounding": Scoring(240, grounding, ("f1",)),
    "grounded_caption": Scoring(24, grounded_caption, ("accuracy",)),
    "ocr": Scoring(400, ocr, ("anls",)),
}
"""The tasks that a model answers."""
