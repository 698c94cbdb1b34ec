"""Images with true captions, and near misses of them, to teach and to test the embedded scorer.

A near miss is the same scene with one thing changed: a colour, a shape, a colour exchanged between
two objects, an object less, two objects that change places, another background. `truth` says which
caption holds for which image, so that no batch teaches that a true caption is false.

A CLIP learns from whole images and whole captions; which part of an image a word belongs to it is never told, and
plain shapes are learnt slowly. So `labels` says what each patch of a scene shows, to align patches with phrases as
well (as RegionCLIP does, arXiv 2112.09106).
"""

import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synth import backgrounds, captions, content, photos, scenes
from synth.photos import Crop, Pair
from synth.scenes import COLOURS, SHAPES, Object, Scene
from synth.words import LANGUAGES, Noun

EDITS: Final = ("colour", "shape", "binding", "count", "place", "ground")
"""The kinds of near miss."""

TRUE: Final = 1
UNSURE: Final = 0
FALSE: Final = -1


@dataclass(frozen=True, slots=True)
class Item:
    """An image to draw, a caption that is true of it, and how it came from the image before it."""

    shown: Scene | Crop | Pair
    text: str
    language: str
    edit: str | None = None


def draw(rng: random.Random, language: str) -> Item:
    """An image as the demo crawl holds them, with a caption in `language`."""
    made = content.draw(rng, language)
    return Item(made.shown, content.describe(made, language, rng), language)


def near_miss(
    item: Item, rng: random.Random, language: str, share: float = 0.6, edits: tuple[str, ...] = EDITS
) -> Item:
    """For a `share` of the scenes a near miss with its own true caption, else another image."""
    if not isinstance(item.shown, Scene) or rng.random() >= share:
        return draw(rng, language)
    edit = rng.choice(edits)
    scene = edited(item.shown, edit, rng)
    if scene is None:
        return draw(rng, language)
    text = captions.caption(scene, language, rng)
    if edit == "place":
        text = rng.choice(relations(scene, language)) if relations(scene, language) else text
    return Item(scene, text, language, edit)


def edited(scene: Scene, edit: str, rng: random.Random) -> Scene | None:
    """The scene with one change of the kind `edit`; None where it does not allow that change."""
    objects = list(scene.objects)
    at = rng.randrange(len(objects))
    if edit == "colour":
        name = rng.choice([one for one in COLOURS if one != objects[at].colour])
        objects[at] = replace(objects[at], colour=name, rgb=COLOURS[name])
    elif edit == "shape":
        objects[at] = replace(
            objects[at], shape=rng.choice([one for one in SHAPES if one != objects[at].shape])
        )
    elif edit == "count":
        if len(objects) == 1:
            return None
        del objects[at]
    elif edit == "ground":
        ground = backgrounds.draw(rng, tuple(one.rgb for one in objects))
        return replace(scene, background=ground) if ground.kind != scene.background.kind else None
    else:
        return _exchanged(scene, edit, rng)
    return replace(scene, objects=tuple(objects))


def _exchanged(scene: Scene, edit: str, rng: random.Random) -> Scene | None:
    """The scene with the colours or the places of two unlike objects exchanged."""
    objects = list(scene.objects)
    places = range(len(objects))
    unlike = [
        (i, j)
        for i in places
        for j in places[i + 1 :]
        if objects[i].colour != objects[j].colour
        and (edit == "place" or objects[i].shape != objects[j].shape)
    ]
    if not unlike:
        return None
    i, j = rng.choice(unlike)
    a, b = objects[i], objects[j]
    if edit == "binding":
        objects[i], objects[j] = (
            replace(a, colour=b.colour, rgb=b.rgb),
            replace(b, colour=a.colour, rgb=a.rgb),
        )
    else:
        # sides stay where they are: the places are known to be free for them
        objects[i], objects[j] = _dressed(a, b), _dressed(b, a)
    return replace(scene, objects=tuple(objects))


def _dressed(place: Object, look: Object) -> Object:
    return replace(place, shape=look.shape, colour=look.colour, rgb=look.rgb, angle=look.angle)


def relations(scene: Scene, language: str) -> list[str]:
    """Every plain caption on where two objects of the scene stand to each other."""
    words, alone = LANGUAGES[language], captions.singles(scene)
    found = []
    for a in alone:
        for b in alone:
            said = scenes.relation(a, b)
            if said in ("left", "above"):
                first, second = (words.noun(Noun(one.shape, one.colour)) for one in (a, b))
                frames = words.left if said == "left" else words.above
                found += [frame.format(a=first, b=second) for frame in frames]
    return found


def _holds(item: Item, source: Scene, scene: Scene, edit: str) -> int:
    """Whether a caption of `source` holds for `scene`, which differs from it by `edit`."""
    words = LANGUAGES[item.language]
    bare = item.text.rstrip(words.stop).casefold()
    if bare in (one.casefold() for one in relations(source, item.language)):
        return TRUE if bare in (one.casefold() for one in relations(scene, item.language)) else FALSE
    if edit == "place":
        # sizes may have changed hands
        return UNSURE
    if edit == "ground":
        return FALSE if words.grounds[source.background.kind].casefold() in bare else TRUE
    return FALSE


def _names(item: Item) -> frozenset[str]:
    """The photographs that an image shows."""
    if isinstance(item.shown, Crop):
        return frozenset({item.shown.name})
    if isinstance(item.shown, Pair):
        return frozenset({item.shown.first.name, item.shown.second.name})
    ground = item.shown.background.photo
    return frozenset({ground.name}) if ground else frozenset()


def _kinds(item: Item) -> frozenset[tuple[tuple[str, str], int]] | None:
    if not isinstance(item.shown, Scene):
        return None
    return frozenset(Counter((one.shape, one.colour) for one in item.shown.objects).items())


def _between(text: Item, picture: Item, same: bool) -> int:
    """Whether the caption of one item holds for the image of another that was drawn on its own.

    `same`: both are scenes of the same objects.
    """
    if isinstance(text.shown, Crop):
        if isinstance(picture.shown, Crop):
            return TRUE if picture.shown.name == text.shown.name else FALSE
        return UNSURE if text.shown.name in _names(picture) else FALSE
    if isinstance(text.shown, Pair) and isinstance(picture.shown, Pair):
        alike = _names(text) == _names(picture)
        return UNSURE if alike and text.shown.side_by_side == picture.shown.side_by_side else FALSE
    return UNSURE if same else FALSE


def truth(texts: list[Item], pictures: list[Item]) -> NDArray[np.int8]:
    """(images, texts) of TRUE, UNSURE and FALSE; both lists hold items, then as many near misses.

    An item and its near miss stand half a list apart.
    """
    half = len(texts) // 2
    said, seen = [_kinds(item) for item in texts], [_kinds(item) for item in pictures]
    table = np.array(
        [
            [_between(text, picture, a is not None and a == b) for text, a in zip(texts, said, strict=True)]
            for picture, b in zip(pictures, seen, strict=True)
        ],
        np.int8,
    )
    for i, (text, picture) in enumerate(zip(texts, pictures, strict=True)):
        table[i, i] = TRUE
        if i >= half and picture.edit is not None:
            source = pictures[i - half].shown
            assert isinstance(source, Scene)
            assert isinstance(picture.shown, Scene)
            table[i, i - half] = _holds(texts[i - half], source, picture.shown, picture.edit)
            table[i - half, i] = _holds(text, picture.shown, source, picture.edit)
    return table


def render(item: Item, longer: int) -> Image.Image:
    """The item's image in RGB, about `longer` pixels along its longer side."""
    if isinstance(item.shown, Scene):
        return scenes.render(item.shown, item.shown.frame(longer))
    if isinstance(item.shown, Pair):
        return photos.render_pair(item.shown, longer)
    aspect = photos.aspect(item.shown)
    size = (longer, round(longer / aspect)) if aspect > 1 else (round(longer * aspect), longer)
    return photos.render(item.shown, *size)


SHOWN: Final = tuple((shape, colour) for shape in SHAPES for colour in COLOURS)
"""What a patch may show, in the order of `labels` and `phrases`."""

NOTHING: Final = len(SHOWN)
"""The label of a patch that no object reaches."""

UNJUDGED: Final = -1
"""The label of a patch that is not judged: an object's edge, or a photograph."""

_ROW: Final = {kind: number for number, kind in enumerate(SHOWN)}
_INSIDE: Final = 0.5


def phrases(language: str) -> list[str]:
    """The bare phrase of each kind: `red circle`."""
    noun = LANGUAGES[language].noun
    return [noun(Noun(shape, colour, 0, None)) for shape, colour in SHOWN]


def _along(centre: float, side: float, length: float, grid: int) -> NDArray[np.float64]:
    """The share of each of `grid` equal parts of `length` that lies within `side` about `centre`."""
    edges = np.linspace(0.0, length, grid + 1)
    low, high = centre - side / 2, centre + side / 2
    shared = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    return np.asarray(np.maximum(shared, 0.0) * grid / length, np.float64)


def coverage(item: Object, scene: Scene, grid: int) -> NDArray[np.float64]:
    """(grid, grid), rows first: the share of each patch of the squashed scene within the object's square."""
    columns = _along(item.x, item.side, scene.width, grid)
    rows = _along(item.y, item.side, scene.height, grid)
    return rows[:, None] * columns[None, :]


def labels(items: list[Item], grid: int) -> NDArray[np.int64]:
    """(N, grid * grid): the row of SHOWN that each patch shows, NOTHING or UNJUDGED.

    An object that fills no patch by half is shown by the patch that it covers most.
    """
    found = np.full((len(items), grid * grid), UNJUDGED, np.int64)
    for row, item in zip(found, items, strict=True):
        if not isinstance(item.shown, Scene):
            continue
        covered = np.stack([coverage(one, item.shown, grid).ravel() for one in item.shown.objects])
        row[covered.max(0) < 0.02] = NOTHING
        for one, share in zip(item.shown.objects, covered, strict=True):
            row[share >= min(_INSIDE, share.max())] = _ROW[one.shape, one.colour]
    return found
