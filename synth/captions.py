"""Captions of scenes and photographs, all of them true of the image."""

import random
from collections import Counter
from typing import Final

from synth.photos import Crop, Pair
from synth.scenes import Object, Scene, relation
from synth.words import LANGUAGES, Language, Noun

SHORTEST: Final = 10
LONGEST: Final = 200
"""Characters of a caption of a scene."""


def phrase(item: Object, language: str, size: bool = False) -> str:
    """The bare noun phrase of an object: `red circle`, with `size` perhaps `small red circle`."""
    said = item.size if size and item.size != "medium" else None
    return LANGUAGES[language].noun(Noun(item.shape, item.colour, 0, said))


def groups(scene: Scene) -> list[Noun]:
    """The objects of a scene counted by shape and colour, in the order in which they were drawn."""
    counts = Counter((item.shape, item.colour) for item in scene.objects)
    return [Noun(shape, colour, count) for (shape, colour), count in counts.items()]


def across(scene: Scene) -> list[Noun]:
    """The same from left to right, by the leftmost of each: the order in which captions name them."""
    left: dict[tuple[str, str], float] = {}
    for item in scene.objects:
        kind = (item.shape, item.colour)
        left[kind] = min(item.x, left.get(kind, item.x))
    return sorted(groups(scene), key=lambda said: left[said.shape, said.colour])


def singles(scene: Scene) -> list[Object]:
    """The objects that no other of the scene shares both shape and colour with."""
    once = {(said.shape, said.colour) for said in groups(scene) if said.count == 1}
    return [item for item in scene.objects if (item.shape, item.colour) in once]


def _sized(rng: random.Random, said: Noun, scene: Scene) -> Noun:
    """The noun with its size, sometimes, where it is one object and small or large."""
    if said.count != 1 or rng.random() < 0.5:
        return said
    size = next(o.size for o in scene.objects if (o.shape, o.colour) == (said.shape, said.colour))
    return said if size == "medium" else Noun(said.shape, said.colour, 1, size)


def _listed(scene: Scene, language: Language, rng: random.Random) -> str:
    said = [_sized(rng, noun, scene) for noun in across(scene)]
    things = language.join([language.noun(noun) for noun in said])
    way = rng.random()
    if len(said) > 1 and way < 0.2:
        return language.counted.format(total=language.totals[len(scene.objects)], things=things)
    if way < 0.6:
        ground = language.grounds[scene.background.kind]
        return rng.choice(language.grounded).format(things=things, ground=ground)
    return rng.choice(language.lists).format(things=things)


def _related(scene: Scene, language: Language, rng: random.Random) -> str | None:
    """A caption that says where two objects stand to each other; None where no two stand plainly."""
    alone = singles(scene)
    # only one way round: `a` is left of `b`, or above it
    pairs = [(a, b, said) for a in alone for b in alone if (said := relation(a, b)) in ("left", "above")]
    if not pairs:
        return None
    a, b, said = rng.choice(pairs)
    frames = language.left if said == "left" else language.above
    first, second = (language.noun(Noun(item.shape, item.colour)) for item in (a, b))
    return rng.choice(frames).format(a=first, b=second)


def _dressed(text: str, language: Language, rng: random.Random) -> str:
    """The text as people write captions: as it is, or as a sentence."""
    if rng.random() < 0.5:
        return text
    return text[0].upper() + text[1:] + language.stop


def caption(scene: Scene, language: str, rng: random.Random) -> str:
    """A true caption of a scene of 10-200 characters, in one of the languages of `synth.words.LANGUAGES`.

    It names objects by colour and shape, with their counts, and at times their size, where two of them
    stand to each other, how many there are in all, or what the background is.
    """
    words = LANGUAGES[language]
    text = _related(scene, words, rng) if rng.random() < 0.35 else None
    for _ in range(20):
        text = _dressed(text or _listed(scene, words, rng), words, rng)
        if SHORTEST <= len(text) <= LONGEST:
            break
        text = None
    return text or words.join([words.noun(noun) for noun in across(scene)])[:LONGEST]


def photo_caption(shown: Crop | Pair, language: str, rng: random.Random) -> str:
    """A true caption of a crop or a pair of photographs, in one of `PHOTO_LANGUAGES`."""
    words = LANGUAGES[language]
    if isinstance(shown, Crop):
        thing = rng.choice(words.photographs[shown.name])
        return _dressed(rng.choice(words.photos).format(thing=thing), words, rng)
    first, second = (rng.choice(words.photographs[crop.name]) for crop in (shown.first, shown.second))
    frames = words.left if shown.side_by_side else words.above
    return _dressed(frames[-1].format(a=first, b=second), words, rng)
