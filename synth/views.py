"""The views of a drawn scene: what every task makes of one image, as turns of a sample.

Questions have one short answer each, in English and Chinese; every answer is true.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from schemas.sample import Box, ImageRef, Phrase, Segment, Text, Turn
from synth.captions import across, caption, groups, phrase, singles
from synth.scenes import COLOURS, SHAPES, Kit, Object, Scene, boxes, relation
from synth.words import LANGUAGES, Noun

ASKED: Final = ("en", "zh")
"""Languages that have questions."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and its answer; `kind` says of what it is."""

    kind: str
    question: str
    answer: str


Maker = Callable[[Scene, str, random.Random], Iterator[Asked]]

_PLACES: Final = {
    "en": {"left": "left", "right": "right", "above": "above", "below": "below"},
    "zh": {"left": "左边", "right": "右边", "above": "上面", "below": "下面"},
}
_THERE: Final = {"en": ("yes", "no"), "zh": ("有", "没有")}
_COUNT: Final = {"en": ("one", "two", "three", "four"), "zh": ("一个", "两个", "三个", "四个")}


_SHAPES: Final = {code: {shape: LANGUAGES[code].shapes[shape][0] for shape in SHAPES} for code in ASKED}
_COLOURS: Final = {
    code: {colour: f"{LANGUAGES[code].colours[colour]}{of}" for colour in COLOURS}
    for code, of in zip(ASKED, ("", "的"), strict=True)
}


def _colour(scene: Scene, language: str, rng: random.Random) -> Iterator[Asked]:
    shapes = [item.shape for item in scene.objects]
    for item in scene.objects:
        if shapes.count(item.shape) == 1:
            shape, colour = _SHAPES[language][item.shape], _COLOURS[language][item.colour]
            asked = {"en": f"What colour is the {shape}?", "zh": f"{shape}是什么颜色的？"}
            yield Asked("colour", asked[language], colour)


def _shape(scene: Scene, language: str, rng: random.Random) -> Iterator[Asked]:
    colours = [item.colour for item in scene.objects]
    for item in scene.objects:
        if colours.count(item.colour) == 1:
            colour, shape = _COLOURS[language][item.colour], _SHAPES[language][item.shape]
            asked = {"en": f"What shape is the {colour} object?", "zh": f"{colour}物体是什么形状？"}
            yield Asked("shape", asked[language], shape)


def _count(scene: Scene, language: str, rng: random.Random) -> Iterator[Asked]:
    numbers = _COUNT[language]
    total = {"en": "How many objects are there?", "zh": "图中有几个物体？"}
    yield Asked("count", total[language], numbers[len(scene.objects) - 1])
    for said in groups(scene):
        shape = _SHAPES[language][said.shape]
        alike = sum(item.shape == said.shape for item in scene.objects)
        asked = {"en": f"How many objects have the shape of a {shape}?", "zh": f"图中有几个{shape}？"}
        yield Asked("count", asked[language], numbers[alike - 1])


def _where(scene: Scene, language: str, rng: random.Random) -> Iterator[Asked]:
    alone = singles(scene)
    for a in alone:
        for b in alone:
            said = relation(a, b)
            if a is b or said is None:
                continue
            one, two = phrase(a, language), phrase(b, language)
            asked = {
                "en": f"Is the {one} left, right, above or below the {two}?",
                "zh": f"{one}在{two}的左边、右边、上面还是下面？",
            }
            yield Asked("where", asked[language], _PLACES[language][said])


def _exists(scene: Scene, language: str, rng: random.Random) -> Iterator[Asked]:
    there = {(item.shape, item.colour) for item in scene.objects}
    shape, colour = rng.choice(sorted(there))
    absent = [pair for pair in _near(shape, colour, scene.kit) if pair not in there]
    asked_of = [((shape, colour), 0)]
    # in a world of few kinds a scene may hold every near miss
    if absent:
        asked_of.append((rng.choice(absent), 1))
    for (kind, paint), answer in asked_of:
        name = LANGUAGES[language].noun(Noun(kind, paint, 0))
        article = "an" if name[0] in "aeiou" else "a"
        asked = {"en": f"Is there {article} {name}?", "zh": f"图中有{name}吗？"}
        yield Asked("exists", asked[language], _THERE[language][answer])


def _near(shape: str, colour: str, kit: Kit) -> list[tuple[str, str]]:
    """What differs from an object in shape or in colour, not in both."""
    return [(shape, other) for other in kit.colours if other != colour] + [
        (other, colour) for other in kit.shapes if other != shape
    ]


KINDS: Final[dict[str, Maker]] = {
    "colour": _colour,
    "shape": _shape,
    "count": _count,
    "where": _where,
    "exists": _exists,
}


def questions(scene: Scene, language: str, rng: random.Random, most: int = 4) -> list[Asked]:
    """Up to `most` questions on a scene, of kinds as unlike as it allows; `language` is one of ASKED."""
    found: list[Asked] = []
    kinds = list(KINDS)
    rng.shuffle(kinds)
    for kind in kinds:
        possible = list(KINDS[kind](scene, language, rng))
        if possible:
            found.append(rng.choice(possible))
    return found[:most]


SHOWN: Final = ImageRef(0)


@dataclass(frozen=True, slots=True)
class View:
    """One sample of an image: its task, its language, its turns."""

    task: str
    language: str
    turns: tuple[Turn, ...]


def views(
    scene: Scene, size: tuple[int, int], language: str, rng: random.Random, most: int = 2
) -> list[View]:
    """The views of a scene rendered at `size` = (width, height), in one language of ASKED.

    A caption, a caption with boxes, up to `most` of the objects that words can tell apart (phrase to box
    and box to phrase), up to `most` + 1 questions, and a dialogue.
    """
    if language not in ASKED:
        raise ValueError(f"scenes are asked about in {', '.join(ASKED)}, not in {language}")
    places: dict[Object, Box] = dict(zip(scene.objects, boxes(scene, size), strict=True))
    found = [_document("caption", language, Text(caption(scene, language, rng), True))]
    found.append(_document("grounding", language, *_grounded(scene, places, language, rng)))
    alone = singles(scene)
    for item in rng.sample(alone, min(most, len(alone))):
        region = Phrase(phrase(item, language), boxes=(places[item],), supervised=True)
        found.append(_document("referring", language, region))
        found.append(_document("grounded_caption", language, region))
    for asked in questions(scene, language, rng, most + 1):
        found.append(_document("vqa", language, Text(asked.question), Text(asked.answer, True)))
    found.append(dialogue(scene, size, language, rng))
    return found


def dialogue(scene: Scene, size: tuple[int, int], language: str, rng: random.Random) -> View:
    """Several questions on one image in turn, one on where an object is if words can tell one apart."""
    rounds: list[tuple[str, Segment]] = [
        (asked.question, Text(asked.answer, True)) for asked in questions(scene, language, rng, most=3)
    ]
    alone = singles(scene)
    if alone:
        item = rng.choice(alone)
        places = dict(zip(scene.objects, boxes(scene, size), strict=True))
        name = phrase(item, language)
        where = {"en": f"Where is the {name}?", "zh": f"{name}在哪里？"}[language]
        # anywhere among the others: a model must not learn that the first question is never where
        rounds.insert(
            rng.randint(0, len(rounds)), (where, Phrase(name, boxes=(places[item],), supervised=True))
        )
    turns: list[Turn] = []
    for number, (question, answer) in enumerate(rounds):
        shown: tuple[Segment, ...] = (SHOWN,) if number == 0 else ()
        turns += [Turn("user", (*shown, Text(question))), Turn("assistant", (answer,))]
    return View("chat", language, tuple(turns))


def _document(task: str, language: str, *segments: Segment) -> View:
    return View(task, language, (Turn("document", (SHOWN, *segments)),))


def _grounded(scene: Scene, places: dict[Object, Box], language: str, rng: random.Random) -> list[Segment]:
    """A caption that lists what there is from left to right, each group of like objects a phrase with their boxes."""
    words = LANGUAGES[language]
    said = across(scene)
    frame = rng.choice(words.lists)
    marks = [f"\x00{number}\x00" for number in range(len(said))]
    text = frame.format(things=words.join(marks))
    segments: list[Segment] = []
    for number, part in enumerate(text.split("\x00")):
        if number % 2 == 0:
            if part:
                segments.append(Text(part, True))
            continue
        segments.append(_region(said[int(part)], scene, places, language))
    return segments


def _region(said: Noun, scene: Scene, places: dict[Object, Box], language: str) -> Phrase:
    alike = [item for item in scene.objects if (item.shape, item.colour) == (said.shape, said.colour)]
    return Phrase(
        LANGUAGES[language].noun(said), boxes=tuple(places[item] for item in alike), supervised=True
    )
