"""Dialogues made of the other samples of one input shard: about where things are, and about several pictures."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pipelines.samples.built import Draft, Picture
from pipelines.samples.dialogues import concatenated, localisation
from pipelines.samples.table import GROUNDED
from schemas.ground import ChatSettings
from schemas.sample import Image, ImageRef, Phrase, Sample, Turn, sample_key


class Place(NamedTuple):
    """Where a picture's bytes are: a member of the input shard, or `name` in an annotation source's folder."""

    member: str
    offset: int | None
    name: str | None = None


class Made(NamedTuple):
    """A sample, the places of its pictures, and what its row says (url, phash, scores)."""

    sample: Sample
    places: tuple[Place, ...]
    facts: dict[str, Any]


def with_dialogues(made: Sequence[Made], settings: ChatSettings, seed: int) -> list[Made]:
    """The samples, with localisation dialogues added, and then dialogues of one picture joined.

    The same samples in any order give the same dialogues. A joined dialogue takes the place and the key of the
    first of those that it is made of; samples of one split and one language are joined only.
    """
    whole = [*made, *_localised(made, settings, seed)] if settings.localise else list(made)
    return _joined(whole, settings, seed) if settings.join > 1 else whole


def _localised(made: Sequence[Made], settings: ChatSettings, seed: int) -> list[Made]:
    views: dict[tuple[str, str, str], list[Made]] = {}
    chats: dict[str, int] = {}
    for one in sorted(made, key=_order):
        sample = one.sample
        pair, ordinal = _pair(sample.key), int(sample.key.rpartition("-")[2])
        if sample.task == "chat":
            chats[pair] = max(chats.get(pair, 0), ordinal + 1)
        if sample.task in GROUNDED and len(sample.images) == 1:
            views.setdefault((sample.images[0].sha256, sample.split, sample.language), []).append(one)
    found = []
    for group in views.values():
        pair = _pair(min(one.sample.key for one in group))
        if not _drawn(settings.localise, seed, "localise", pair):
            continue
        captions = [one for one in group if one.sample.task == "grounding"][:1]
        regions = _different([one for one in group if one.sample.task != "grounding"])
        draft = localisation([_draft(one) for one in (*captions, *regions)], seed, settings.rounds)
        ordinal = chats.get(pair, 0)
        chats[pair] = ordinal + 1
        first = min(group, key=_order)
        sample = replace(first.sample, key=sample_key(pair, "chat", ordinal), task="chat", turns=draft.turns)
        found.append(Made(sample, first.places, first.facts))
    return found


def _different(views: Sequence[Made]) -> list[Made]:
    """Views of each phrase and of each region once: several captions of a picture name the same things."""
    kept: list[Made] = []
    seen: set[tuple[str, object]] = set()
    for one in views:
        phrases = [part for turn in one.sample.turns for part in turn.segments if isinstance(part, Phrase)]
        marks: set[tuple[str, object]] = {(one.sample.task, part.phrase.casefold()) for part in phrases}
        marks |= {(one.sample.task, (part.boxes, part.quads)) for part in phrases}
        if not marks & seen:
            seen |= marks
            kept.append(one)
    return kept


def _joined(made: Sequence[Made], settings: ChatSettings, seed: int) -> list[Made]:
    kept: list[Made] = []
    waiting: dict[tuple[str, str], list[Made]] = {}
    for one in sorted(made, key=_order):
        sample = one.sample
        alone = sample.task == "chat" and len(sample.images) == 1 and _shows_first(sample.turns)
        if not (alone and _drawn(settings.joined, seed, "join", sample.key)):
            kept.append(one)
            continue
        group = waiting.setdefault((sample.split, sample.language), [])
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
        images.setdefault(one.sample.images[0].sha256, one.sample.images[0])
        places.setdefault(one.sample.images[0].sha256, one.places[0])
    names = [picture.name for picture in draft.images]
    sample = replace(group[0].sample, images=tuple(images[name] for name in names), turns=draft.turns)
    # what a row says is of its one picture
    facts = dict.fromkeys(group[0].facts)
    return Made(sample, tuple(places[name] for name in names), facts)


def _draft(made: Made) -> Draft:
    """A sample as a draft whose pictures go by their digests."""
    sample = made.sample
    pictures = tuple(Picture(image.sha256, image.width, image.height) for image in sample.images)
    return Draft(sample.task, sample.language, pictures, sample.turns)


def _shows_first(turns: Iterable[Turn]) -> bool:
    """Whether the first question shows the picture, so that it can be announced by its number."""
    asked = next((turn for turn in turns if turn.role == "user"), None)
    return asked is not None and any(isinstance(one, ImageRef) for one in asked.segments)


def _order(made: Made) -> tuple[str, str, int]:
    """By pair, task and number: keys as text would put the tenth before the second."""
    pair, task, ordinal = made.sample.key.rsplit("-", 2)
    return pair, task, int(ordinal)


def _pair(key: str) -> str:
    return key.rsplit("-", 2)[0]


def _drawn(share: float, seed: int, *purpose: str) -> bool:
    digest = hashlib.blake2b(f"{seed}:{':'.join(purpose)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < share * 2**64
