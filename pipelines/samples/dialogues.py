"""Dialogues made of other samples: about where things are, and about several pictures.

Qwen-VL builds both kinds for its third stage, the second by "strategy concatenation" (arXiv 2308.12966).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from pipelines.samples.built import Draft, Picture
from pipelines.samples.prompts import REGION, prompt, spoken
from pipelines.samples.reasons import Refused
from schemas.sample import ImageRef, Phrase, Segment, Text, Turn


def localisation(drafts: Sequence[Draft], seed: int = 0, rounds: int = 4) -> Draft:
    """A dialogue about where things are, of the three views of one grounded picture.

    The grounded caption is asked for first, where there is one; then phrases and regions in turn, at most
    `rounds` questions in all. Refused `no_regions` where no view has a region.
    """
    if len({draft.images for draft in drafts}) > 1:
        raise ValueError("the views of one localisation dialogue are of one picture")
    turns: list[Turn] = []
    for number, draft in enumerate(_alternating(drafts, rounds)):
        asked, answered = _round(draft, (seed, draft.images[0].name, number))
        first: tuple[Segment, ...] = (ImageRef(0),) if not turns else ()
        turns += [Turn("user", (*first, *asked)), Turn("assistant", answered)]
    if not turns:
        raise Refused("no_regions")
    one = drafts[0]
    return Draft("chat", one.language, one.images, tuple(turns), one.relative, one.split)


def concatenated(dialogues: Sequence[Draft], seed: int = 0) -> Draft:
    """Several dialogues as one about all their pictures, each picture shown where its dialogue begins.

    Later dialogues begin with a sentence that names their picture by its number in the whole. System turns
    of all but the first are left out. Pictures that several dialogues share are held once.
    """
    if not dialogues:
        raise ValueError("nothing to join")
    pictures: dict[Picture, int] = {}
    turns: list[Turn] = []
    shown = 0
    for number, draft in enumerate(dialogues):
        numbers = [pictures.setdefault(picture, len(pictures)) for picture in draft.images]
        own = draft.turns if number == 0 else tuple(turn for turn in draft.turns if turn.role != "system")
        for place, turn in enumerate(own):
            segments = [
                ImageRef(numbers[one.image]) if isinstance(one, ImageRef) else one for one in turn.segments
            ]
            if number and place == 0 and draft.images:
                segments = _announced(
                    segments, draft.language, shown + 1, (seed, number, draft.images[0].name)
                )
            turns.append(Turn(turn.role, tuple(segments)))
            shown += sum(isinstance(one, ImageRef) for one in segments)
    first = dialogues[0]
    relative = all(draft.relative for draft in dialogues)
    split = first.split if len({draft.split for draft in dialogues}) == 1 else ""
    return Draft("chat", first.language, tuple(pictures), tuple(turns), relative, split)


def in_groups(dialogues: Iterable[Draft], size: int, seed: int = 0) -> Iterator[Draft]:
    """Dialogues joined `size` at a time, in order; the last group may be smaller."""
    source = iter(dialogues)
    while group := list(islice(source, size)):
        yield concatenated(group, seed)


def described(draft: Draft, seed: int = 0) -> Draft:
    """A captioned picture as a dialogue of one question."""
    words = tuple(one for one in draft.turns[0].segments if not isinstance(one, ImageRef))
    ask = prompt(draft.language, "describe", seed, draft.images[0].name)
    turns = (Turn("user", (ImageRef(0), Text(ask))), Turn("assistant", words))
    return draft._replace(task="chat", turns=turns)


def _alternating(drafts: Sequence[Draft], rounds: int) -> list[Draft]:
    """The grounded caption, then phrase to box and box to phrase by turns, of different phrases."""
    asked = [draft for draft in drafts if draft.task == "referring"]
    told = [draft for draft in drafts if draft.task == "grounded_caption"]
    mixed = [(asked if place % 2 == 0 else told)[place] for place in range(min(len(asked), len(told)))]
    return [*[draft for draft in drafts if draft.task == "grounding"], *mixed][:rounds]


def _round(draft: Draft, seed: tuple[object, ...]) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    language = draft.language
    answer = tuple(one for one in draft.turns[0].segments if not isinstance(one, ImageRef))
    if draft.task == "grounding":
        return (Text(prompt(language, "ground", *seed)),), answer
    (phrase,) = answer
    assert isinstance(phrase, Phrase)
    if draft.task == "referring":
        return _filled(prompt(language, "where", *seed), Phrase(phrase.phrase)), answer
    region = Phrase(REGION[spoken(language)], phrase.boxes, phrase.quads)
    return _filled(prompt(language, "what", *seed), region), (Text(phrase.phrase, True),)


def _filled(words: str, phrase: Phrase) -> tuple[Segment, ...]:
    before, _, after = words.partition("{phrase}")
    return tuple(one for one in (Text(before), phrase, Text(after)) if one != Text(""))


def _announced(
    segments: list[Segment], language: str, number: int, seed: tuple[object, ...]
) -> list[Segment]:
    words = prompt(language, "compare", *seed).format(number=number)
    space = "" if spoken(language) == "zh" else " "
    at = next((i for i, one in enumerate(segments) if not isinstance(one, ImageRef)), len(segments))
    return [*segments[:at], Text(words + space), *segments[at:]]
