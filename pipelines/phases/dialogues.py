"""Dialogues made of the other samples of one input shard: about where things are, and about several images.

Qwen-VL builds both kinds for its third stage, the second by "strategy concatenation" (arXiv 2308.12966).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple

from pipelines.datasets.drafts import Draft, NamedImage
from pipelines.datasets.reasons import Refused
from pipelines.shares import is_drawn
from schemas.ground import ChatSettings
from schemas.sample import GROUNDED, Example, Image, ImageRef, Phrase, Segment, Text, Turn, view_key

Ask = Literal["where", "what", "compare", "ground"]

PROMPTS: Final[dict[str, dict[Ask, tuple[str, ...]]]] = {
    "en": {
        "where": (
            "Where is {phrase}?",
            "Can you find {phrase} in the picture?",
            "Mark {phrase} with a box.",
            "Please locate {phrase}.",
            "Show me where {phrase} is.",
        ),
        "what": (
            "What is in {phrase}?",
            "What does {phrase} show?",
            "Tell me what you see in {phrase}.",
            "How would you call what is in {phrase}?",
        ),
        "ground": (
            "Describe the picture, and mark what you mention with boxes.",
            "What can be seen here, and where is it?",
            "Write a caption in which each thing has its box.",
        ),
        "compare": (
            "Now a question about Picture {number}.",
            "Let us turn to Picture {number}.",
            "Next, Picture {number}.",
        ),
    },
    "zh": {
        "where": (
            "{phrase}在哪里？",
            "请在图中找出{phrase}。",
            "请用框标出{phrase}。",
            "你能指出{phrase}的位置吗？",
            "框出图中{phrase}的位置。",
        ),
        "what": (
            "{phrase}里是什么？",
            "请说出{phrase}里的内容。",
            "{phrase}显示的是什么？",
            "你在{phrase}里看到了什么？",
        ),
        "ground": (
            "请描述这张图片，并用框标出提到的事物。",
            "图里有什么，分别在哪里？",
            "写一句图片说明，并给每个事物画框。",
        ),
        "compare": ("下面问一个关于图{number}的问题。", "现在看图{number}。", "接下来是图{number}。"),
    },
}
"""How a user asks, by language and what is asked; {phrase} stands for a phrase, {number} for an image's number."""

REGION: Final = {"en": "this region", "zh": "这个区域"}
"""What a user calls a box."""


def spoken(language: str) -> str:
    """The language of the prompts for a sample: Chinese for Chinese, else English."""
    return "zh" if language == "zh" else "en"


def draw(count: int, *seed: object) -> int:
    """A number below `count` that depends on `seed` alone."""
    digest = hashlib.blake2b("\0".join(map(str, seed)).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest()) % count


def prompt(language: str, ask: Ask, *seed: object) -> str:
    """One of the prompts, the same for the same seed."""
    choices = PROMPTS[spoken(language)][ask]
    return choices[draw(len(choices), ask, *seed)]


def localisation(drafts: Sequence[Draft], seed: int = 0, rounds: int = 4) -> Draft:
    """A dialogue about where things are, of the three views of one grounded image.

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
    """Several dialogues as one about all their images, each image shown where its dialogue begins.

    Later dialogues begin with a sentence that names their image by its number in the whole. System turns
    of all but the first are left out. Images that several dialogues share are held once.
    """
    if not dialogues:
        raise ValueError("nothing to join")
    pictures: dict[NamedImage, int] = {}
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


def _alternating(drafts: Sequence[Draft], rounds: int) -> list[Draft]:
    """The grounded caption, then phrase to box and box to phrase by turns, of different phrases."""
    asked = [draft for draft in drafts if draft.task == "referring"]
    answered = [draft for draft in drafts if draft.task == "grounded_caption"]
    mixed = [
        (asked if place % 2 == 0 else answered)[place] for place in range(min(len(asked), len(answered)))
    ]
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


class Place(NamedTuple):
    """Where an image's bytes are: a member of the input shard, or `name` in an annotation source's folder."""

    member: str
    offset: int | None
    name: str | None = None


class Made(NamedTuple):
    """A training example, the places of its images, and what was measured of its row (phash, scores)."""

    example: Example
    places: tuple[Place, ...]
    facts: dict[str, Any]


def with_dialogues(made: Sequence[Made], settings: ChatSettings, seed: int) -> list[Made]:
    """The samples, with localisation dialogues added, and then dialogues of one image joined.

    The same samples in any order give the same dialogues. A joined dialogue takes the place and the key of the
    first of those that it is made of; samples of one split and one language are joined only.
    """
    whole = [*made, *_localised(made, settings, seed)] if settings.localise else list(made)
    return _joined(whole, settings, seed) if settings.join > 1 else whole


def _localised(made: Sequence[Made], settings: ChatSettings, seed: int) -> list[Made]:
    views: dict[tuple[str, str, str], list[Made]] = {}
    chats: dict[str, int] = {}
    for one in sorted(made, key=_order):
        example = one.example
        pair, ordinal = row_key(example.key), int(example.key.rpartition("-")[2])
        if example.task == "chat":
            chats[pair] = max(chats.get(pair, 0), ordinal + 1)
        if example.task in GROUNDED and len(example.images) == 1:
            views.setdefault((example.images[0].sha256, example.split, example.language), []).append(one)
    found = []
    for group in views.values():
        pair = row_key(min(one.example.key for one in group))
        if not is_drawn(settings.localise, seed, "localise", pair):
            continue
        captions = [one for one in group if one.example.task == "grounding"][:1]
        regions = _different([one for one in group if one.example.task != "grounding"])
        draft = localisation([_draft(one) for one in (*captions, *regions)], seed, settings.rounds)
        ordinal = chats.get(pair, 0)
        chats[pair] = ordinal + 1
        first = min(group, key=_order)
        example = replace(first.example, key=view_key(pair, "chat", ordinal), task="chat", turns=draft.turns)
        found.append(Made(example, first.places, first.facts))
    return found


def _different(views: Sequence[Made]) -> list[Made]:
    """Views of each phrase and of each region once: several captions of an image name the same things."""
    kept: list[Made] = []
    seen: set[tuple[str, object]] = set()
    for one in views:
        phrases = one.example.phrases
        marks: set[tuple[str, object]] = {(one.example.task, part.phrase.casefold()) for part in phrases}
        marks |= {(one.example.task, (part.boxes, part.quads)) for part in phrases}
        if not marks & seen:
            seen |= marks
            kept.append(one)
    return kept


def _joined(made: Sequence[Made], settings: ChatSettings, seed: int) -> list[Made]:
    kept: list[Made] = []
    waiting: dict[tuple[str, str], list[Made]] = {}
    for one in sorted(made, key=_order):
        example = one.example
        alone = example.task == "chat" and len(example.images) == 1 and _shows_first(example.turns)
        if not (alone and is_drawn(settings.joined, seed, "join", example.key)):
            kept.append(one)
            continue
        group = waiting.setdefault((example.split, example.language), [])
        group.append(one)
        if len(group) == settings.join:
            kept.append(_one_of(group, seed))
            group.clear()
    for group in waiting.values():
        if group:
            kept.append(_one_of(group, seed) if len(group) > 1 else group[0])
    return kept


def _one_of(group: Sequence[Made], seed: int) -> Made:
    """Several dialogues as one."""
    draft = concatenated([_draft(one) for one in group], seed)
    images: dict[str, Image] = {}
    places: dict[str, Place] = {}
    for one in group:
        images.setdefault(one.example.images[0].sha256, one.example.images[0])
        places.setdefault(one.example.images[0].sha256, one.places[0])
    names = [picture.name for picture in draft.images]
    first = group[0].example
    shown = tuple(images[name] for name in names)
    example = replace(first, images=shown, turns=draft.turns, id=None, extra=None)
    # what is measured of a row is of its one image
    facts = dict.fromkeys(group[0].facts)
    return Made(example, tuple(places[name] for name in names), facts)


def _draft(made: Made) -> Draft:
    """A sample as a draft whose images go by their digests."""
    one = made.example
    pictures = tuple(NamedImage(image.sha256, image.width, image.height) for image in one.images)
    return Draft(one.task, one.language, pictures, one.turns)


def _shows_first(turns: Iterable[Turn]) -> bool:
    """Whether the first question shows the image, so that it can be announced by its number."""
    asked = next((turn for turn in turns if turn.role == "user"), None)
    return asked is not None and any(isinstance(one, ImageRef) for one in asked.segments)


def _order(made: Made) -> tuple[str, str, int]:
    """By pair, task and number: keys as text would put the tenth before the second."""
    pair, task, ordinal = made.example.key.rsplit("-", 2)
    return pair, task, int(ordinal)


def row_key(key: str) -> str:
    """Returns the key of the row that a view is of."""
    return key.rsplit("-", 2)[0]
