"""Questions on drawn scenes with one short answer each, in English and Chinese; every one is true."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from synth.captions import groups, phrase, singles
from synth.scenes import COLOURS, SHAPES, Kit, Scene, relation
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


def _common(texts: list[str], at_end: bool) -> str:
    """The longest beginning (or end) that all texts share."""
    turned = [text[::-1] if at_end else text for text in texts]
    length = 0
    while all(len(text) > length and text[length] == turned[0][length] for text in turned):
        length += 1
    shared = turned[0][:length]
    return shared[::-1] if at_end else shared


def _names(language: str) -> tuple[dict[str, str], dict[str, str]]:
    """Shapes and colours by themselves: a phrase is colour + shape in both languages asked in."""
    noun = LANGUAGES[language].noun
    shapes = {
        shape: _common([noun(Noun(shape, colour, 0)) for colour in COLOURS], at_end=True)
        .strip()
        .removeprefix("色的")
        for shape in SHAPES
    }
    colours = {
        colour: _common([noun(Noun(shape, colour, 0)) for shape in SHAPES], at_end=False).strip()
        for colour in COLOURS
    }
    return shapes, colours


_SHAPES: Final = {language: _names(language)[0] for language in ASKED}
_COLOURS: Final = {language: _names(language)[1] for language in ASKED}


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
