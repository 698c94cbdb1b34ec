"""What each task asks of a model's answer: how long it may be, what it should say, how it is scored."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from model.metrics import anls, answer, cider, error_rate, hit, object_f1, objects, pair_f1, vqa_score
from schemas.markup import parse_lenient
from schemas.sample import Box, Phrase, Sample, Text

Sizes = Sequence[tuple[int, int]]


@dataclass(slots=True)
class Known:
    """What all samples together say of each image, by its SHA-256."""

    phrases: dict[str, dict[str, set[Box]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    captions: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    answers: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, sample: Sample) -> None:
        if not sample.images:
            return
        image = sample.images[0].sha256
        for turn in sample.turns:
            for segment in turn.segments:
                if isinstance(segment, Phrase) and sample.task != "ocr":
                    self.phrases[image][segment.phrase] |= set(segment.boxes)
        if sample.task == "caption":
            self.captions[image, sample.language].append(taught_words(sample))
        if sample.task == "vqa":
            self.answers[image, asked(sample)].append(taught_words(sample))

    def count(self, image: str) -> int:
        """Returns how many objects of an image are known by their boxes."""
        return len(set().union(*self.phrases[image].values())) if image in self.phrases else 0

    def objects(self, sample: Sample) -> Counter[str]:
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

    sample: Sample
    text: str

    @property
    def image(self) -> str:
        """Returns the SHA-256 of the image, empty where there is none."""
        return self.sample.images[0].sha256 if self.sample.images else ""

    @property
    def sizes(self) -> Sizes:
        return [(one.width, one.height) for one in self.sample.images]

    @property
    def phrases(self) -> list[Phrase]:
        """Returns phrases and boxes in the answer, as far as they can be read."""
        found = parse_lenient(self.text, self.sizes, 0).segments
        return [segment for segment in found if isinstance(segment, Phrase)]

    @property
    def words(self) -> str:
        """Returns the answer's words without markup."""
        found = parse_lenient(self.text, self.sizes, 0).segments
        texts = [
            one.phrase if isinstance(one, Phrase) else one.text for one in found if not hasattr(one, "image")
        ]
        return "".join(texts).strip()


def taught_words(sample: Sample) -> str:
    """Returns the words that are taught."""
    parts = []
    for turn in sample.turns:
        for segment in turn.segments:
            if isinstance(segment, Text) and segment.supervised:
                parts.append(segment.text)
            elif isinstance(segment, Phrase) and segment.supervised:
                parts.append(segment.phrase)
    return ("\n" if sample.task == "ocr" else "").join(parts).strip()


def asked(sample: Sample) -> str:
    """Returns the words that stand before what is taught."""
    texts = [
        one.text
        for turn in sample.turns
        for one in turn.segments
        if isinstance(one, Text) and not one.supervised
    ]
    return "".join(texts).strip()


def true_boxes(sample: Sample) -> list[tuple[str, Box]]:
    """Returns each box of a sample with its phrase."""
    return [
        (segment.phrase, box)
        for turn in sample.turns
        for segment in turn.segments
        if isinstance(segment, Phrase)
        for box in segment.boxes
    ]


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


class Task(NamedTuple):
    """How answers are made and scored: at most `limit` new tokens, all at once by `score`; `headlines` are the
    figures that a judgement counts, all 0 to 1, higher is better.
    """

    limit: int
    score: Scorer
    headlines: tuple[str, ...]


ANSWERED: Final = {
    "caption": Task(80, captions, ("f1", "choice")),
    "vqa": Task(16, vqa, ("accuracy",)),
    "referring": Task(40, referring, ("acc@0.5",)),
    "grounding": Task(240, grounding, ("f1",)),
    "grounded_caption": Task(24, grounded_caption, ("accuracy",)),
    "ocr": Task(400, ocr, ("anls",)),
}
"""The tasks that a model answers."""
