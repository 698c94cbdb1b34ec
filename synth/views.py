"""The views of a drawn scene: what every task makes of one picture, as turns of a sample."""

import random
from dataclasses import dataclass
from typing import Final

from schemas.sample import Box, ImageRef, Phrase, Segment, Text, Turn
from synth.captions import across, caption, phrase, singles
from synth.questions import ASKED, questions
from synth.scenes import Object, Scene, boxes
from synth.words import LANGUAGES, Noun

SHOWN: Final = ImageRef(0)


@dataclass(frozen=True, slots=True)
class View:
    """One sample of a picture: its task, its language, its turns."""

    task: str
    language: str
    turns: tuple[Turn, ...]


def views(
    scene: Scene, size: tuple[int, int], language: str, rng: random.Random, most: int = 2
) -> list[View]:
    """The views of a scene rendered at `size` = (width, height), in one language of synth.questions.ASKED.

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
    """Several questions on one picture in turn, one on where an object is if words can tell one apart."""
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
