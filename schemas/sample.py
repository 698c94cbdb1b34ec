"""A sample: the views of one image (or of a text, or of several images), neutral as to the model that will read them.

Each view is one training example: `Sample.examples` gives it with the images and facts that it shares with the others.
The JSON form is the contract between the corpus and whoever trains on it: a shard's KEY.json, and the
column `sample` of every index, are exactly `Sample.to_json()`.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from schemas.strict import (
    FieldError,
    array,
    boolean,
    dumps,
    fields,
    loads,
    optional,
    pixels,
    require,
    string,
    whole,
)

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the stored image."""
Quad = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""Four corners in pixels of the stored image, clockwise from the top left of the text."""

ROLES: Final = ("document", "system", "user", "assistant")
"""Who speaks in a turn; `document` is nobody: the turn is the matter itself."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the views of a task are for: how many `images` one shows, and the Hub's name for the task, `category`.

    `template` says what a view looks like that fits the task's stage-2 template; empty where it has none.
    `grounded`: its phrases are asked for, or given, with their regions.
    """

    images: Literal["none", "one", "many"]
    category: str
    template: str = ""
    grounded: bool = False


_PHRASE: Final = "one image, then one supervised phrase with regions"

TASKS: Final = {
    "caption": Task("one", "image-to-text", "images, then supervised words"),
    "grounding": Task(
        "one", "image-to-text", "images, then a supervised caption with phrases", grounded=True
    ),
    "referring": Task("one", "zero-shot-object-detection", _PHRASE, grounded=True),
    "grounded_caption": Task("one", "image-to-text", _PHRASE, grounded=True),
    "vqa": Task("one", "visual-question-answering", "images and a question, then a supervised answer"),
    "ocr": Task("one", "image-to-text", "images, then supervised phrases"),
    "chat": Task("many", "image-text-to-text"),
    "text": Task("none", "text-generation", "supervised words and no image"),
    "interleaved": Task("many", "image-text-to-text"),
}
"""The tasks that views are for: the one list of them."""

GROUNDED: Final = tuple(name for name, task in TASKS.items() if task.grounded)
"""The tasks whose views say what lies where in their one image."""

SEVERAL: Final = tuple(name for name, task in TASKS.items() if task.images == "many")
"""Tasks whose views may show several images; those of all others show one or none."""

PNG_METADATA_BYTES: Final = 16 * 1024 * 1024
"""A text or colour profile of a PNG may unpack to this; Pillow's own limit, 1 MiB, is below what is published."""

_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,90}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Image:
    """What is known of one image of a sample: its format (as Pillow names it), size and digest.

    `original_sha256` is the digest of the bytes as their source has them, before a turn or a resize; where none is
    given, that of the bytes stored. `url` is where they came from, where the source says so.
    """

    format: str
    width: int
    height: int
    sha256: str
    original_sha256: str = ""
    url: str | None = None

    def __post_init__(self) -> None:
        require(self.width > 0 and self.height > 0, "image.width and image.height must be above 0")
        require(_SHA256.fullmatch(self.sha256) is not None, "image.sha256 must be 64 hex digits")
        if not self.original_sha256:
            object.__setattr__(self, "original_sha256", self.sha256)
        ok = _SHA256.fullmatch(self.original_sha256) is not None
        require(ok, "image.original_sha256 must be 64 hex digits")


@dataclass(frozen=True, slots=True)
class Text:
    """Words; `supervised` says whether the model is taught to write them."""

    text: str
    supervised: bool = False


@dataclass(frozen=True, slots=True)
class ImageRef:
    """The place of an image: an index into the sample's images."""

    image: int


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that stand for regions of the image shown last before them.

    Coordinates are pixels of the stored image: whole numbers stay whole, others keep two decimals.
    """

    phrase: str
    boxes: tuple[Box, ...] = ()
    quads: tuple[Quad, ...] = ()
    supervised: bool = False

    def __post_init__(self) -> None:
        boxes = tuple(_box(box) for box in self.boxes)
        quads = tuple(_quad(quad) for quad in self.quads)
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "quads", quads)


Segment = Text | ImageRef | Phrase


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says: segments in reading order."""

    role: str
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise FieldError(f"turn.role must be one of {', '.join(ROLES)}, not {self.role!r}")


@dataclass(frozen=True, slots=True)
class View:
    """What a sample's images are taught with, once: `turns`, for one task in one language.

    `licence` is the row's own where it has one, else the source's; `id` is the row's own name, `extra` its further
    fields as the JSON of an object, both None where it has none.
    """

    key: str
    task: str
    language: str
    licence: str
    turns: tuple[Turn, ...]
    id: str | None = None
    extra: str | None = None

    def __post_init__(self) -> None:
        _check_key(self.key, "view.key")


@dataclass(frozen=True, slots=True)
class Example:
    """One training example: a view, with the split, source and images of its sample.

    `key` is the view's. Images are named by their place in `images`.
    """

    key: str
    task: str
    split: str
    language: str
    source: str
    licence: str
    images: tuple[Image, ...]
    turns: tuple[Turn, ...]
    id: str | None = None
    extra: str | None = None

    def __post_init__(self) -> None:
        _check_key(self.key, "key")
        _check_shown(self.turns, len(self.images))

    @property
    def segments(self) -> Iterator[Segment]:
        """Returns the segments of all turns."""
        return (one for turn in self.turns for one in turn.segments)

    @property
    def phrases(self) -> list[Phrase]:
        """Returns the phrases of all turns."""
        return [one for one in self.segments if isinstance(one, Phrase)]

    @property
    def text(self) -> str:
        """Returns all words of the example in reading order; turns are parted by a line feed."""
        return text_of(self.turns)

    @property
    def view(self) -> View:
        """Returns what the example is without its images, split and source."""
        return View(self.key, self.task, self.language, self.licence, self.turns, self.id, self.extra)


@dataclass(frozen=True, slots=True)
class Sample:
    """One image (or text, or several images) with its views; the images' bytes lie beside it.

    Every view may show any of the images, by its place in `images`.
    """

    key: str
    split: str
    source: str
    images: tuple[Image, ...]
    views: tuple[View, ...]

    def __post_init__(self) -> None:
        _check_key(self.key, "key")
        require(len(self.views) > 0, "a sample must have a view")
        for view in self.views:
            _check_shown(view.turns, len(self.images))

    @classmethod
    def of(cls, key: str, examples: Sequence[Example]) -> "Sample":
        """Returns the sample whose views are `examples`, all of one split, source and images, in their order."""
        first = examples[0]
        return cls(key, first.split, first.source, first.images, tuple(one.view for one in examples))

    @property
    def examples(self) -> tuple[Example, ...]:
        """Returns each view as a training example, in order."""
        return tuple(self.example(at) for at in range(len(self.views)))

    def example(self, at: int) -> Example:
        """Returns the view number `at`, from 0, as a training example."""
        one = self.views[at]
        return Example(
            *(one.key, one.task, self.split, one.language, self.source, one.licence),
            *(self.images, one.turns, one.id, one.extra),
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """Returns the tasks of the views, each once, in the order of the views."""
        return tuple(dict.fromkeys(one.task for one in self.views))

    @property
    def caption(self) -> str | None:
        """Returns the words of the first view whose task is caption; None where there is none."""
        return next((text_of(one.turns) for one in self.views if one.task == "caption"), None)

    @property
    def text(self) -> str | None:
        """Returns the words of all views but the first caption, parted by an empty line; None where there are none."""
        views = list(self.views)
        caption = next((one for one in views if one.task == "caption"), None)
        others = [text_of(one.turns) for one in views if one is not caption]
        return "\n\n".join(others) if others else None

    def to_json(self) -> str:
        """Returns one line of JSON: sorted keys, characters as they are, the same sample always the same text."""
        record: dict[str, Any] = {name: getattr(self, name) for name in SAMPLE_FIELDS[:3]}
        record["images"] = [{name: getattr(image, name) for name in IMAGE_FIELDS} for image in self.images]
        record["views"] = views_json(self.views)
        return dumps(record)

    @classmethod
    def from_json(cls, line: str | bytes) -> "Sample":
        """Returns the sample that `line` holds; raises FieldError where a field is missing, unknown or wrong."""
        record = fields(loads(line), "sample", SAMPLE_FIELDS)
        words = {name: string(record[name], name) for name in SAMPLE_FIELDS[:3]}
        images = tuple(_image(one) for one in array(record["images"], "images"))
        views = tuple(_view(one) for one in array(record["views"], "views"))
        return cls(**words, images=images, views=views)


def example_of(value: Any, at: int) -> Example:
    """Returns the view number `at` of a sample, given by its JSON value, and looks at none of its other views.

    Raises FieldError where there is none, or a field of it or of the sample is missing, unknown or wrong.
    """
    record = fields(value, "sample", SAMPLE_FIELDS)
    words = {name: string(record[name], name) for name in SAMPLE_FIELDS[:3]}
    images = tuple(_image(one) for one in array(record["images"], "images"))
    views = array(record["views"], "views")
    require(0 <= at < len(views), f"there is no view {at} among {len(views)}")
    return Sample(**words, images=images, views=(_view(views[at]),)).example(0)


def joined(samples: Sequence[Sample]) -> Sample:
    """Returns one sample with the views of all, each once, in the order of tasks and keys.

    They are samples of one key and one image; its address is the first that any of them has.
    """
    views = {view.key: view for sample in samples for view in sample.views}
    first = samples[0]
    if len(samples) > 1:
        urls = [sample.images[0].url for sample in samples if sample.images and sample.images[0].url]
        images = (replace(first.images[0], url=min(urls, default=None)), *first.images[1:])
        first = replace(first, images=images)
    return replace(first, views=tuple(sorted(views.values(), key=_view_order)))


def _view_order(view: View) -> tuple[int, str, int, str]:
    """Returns by what views of one sample are sorted: a tenth of a row's views comes after its second."""
    row, _, ordinal = view.key.rpartition("-")
    place = [*TASKS].index(view.task) if view.task in TASKS else len(TASKS)
    return place, row, int(ordinal) if ordinal.isdecimal() else 0, view.key


def text_of(turns: Iterable[Turn]) -> str:
    """Returns the words of turns in reading order, parted by a line feed."""
    return "\n".join(words_of(turn.segments) for turn in turns)


def words_of(segments: Iterable[Segment]) -> str:
    """Returns the words of texts and phrases, as they follow each other."""
    return "".join(
        one.text if isinstance(one, Text) else one.phrase for one in segments if not isinstance(one, ImageRef)
    )


def turns_json(turns: tuple[Turn, ...]) -> list[dict[str, Any]]:
    """Returns turns as a sample's JSON has them."""
    return [{"role": turn.role, "segments": [_segment_json(one) for one in turn.segments]} for turn in turns]


def views_json(views: Iterable[View]) -> list[dict[str, Any]]:
    """Returns views as a sample's JSON has them."""
    return [
        {name: getattr(view, name) for name in VIEW_FIELDS[:-1]} | {"turns": turns_json(view.turns)}
        for view in views
    ]


SAMPLE_FIELDS: Final = ("key", "split", "source", "images", "views")
VIEW_FIELDS: Final = ("key", "task", "language", "id", "licence", "extra", "turns")
SEGMENT_FIELDS: Final = ("text", "image", "phrase", "boxes", "quads", "supervised")
"""Every segment has all of them, null where unused: readers that infer columns must not meet a new one later."""
IMAGE_FIELDS: Final = ("format", "width", "height", "sha256", "original_sha256", "url")


def view_key(row_key: str, task: str, ordinal: int) -> str:
    """Returns the key of a view, without a dot: the key of its row, its task, and its number among the row's."""
    return f"{row_key}-{task}-{ordinal}"


def image_key(source: str, original_sha256: str) -> str:
    """Returns the key of a sample that holds all views of one image in a source: 32 lower-case hex digits.

    BLAKE2b-128 over length-prefixed fields, as keys of rows are.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in (source.encode(), original_sha256.encode()):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def caption_example(
    row_key: str,
    caption: str,
    image: Image,
    *,
    split: str,
    language: str,
    source: str,
    licence: str,
    ordinal: int = 0,
) -> Example:
    """Returns an image with its caption, and nothing of a prompt: the markup adds that."""
    turn = Turn("document", (ImageRef(0), Text(caption, supervised=True)))
    key = view_key(row_key, "caption", ordinal)
    return Example(key, "caption", split, language, source, licence, (image,), (turn,))


def text_example(
    row_key: str, text: str, *, split: str, language: str, source: str, licence: str, ordinal: int = 0
) -> Example:
    """Returns an example of pure text, all of it taught."""
    turn = Turn("document", (Text(text, supervised=True),))
    return Example(view_key(row_key, "text", ordinal), "text", split, language, source, licence, (), (turn,))


def _check_key(key: str, field: str) -> None:
    ok = _KEY.fullmatch(key) is not None
    require(ok, f"{field} must be 1 to 90 letters, digits, - or _, not {key!r}")


def _check_shown(turns: Iterable[Turn], images: int) -> None:
    for turn in turns:
        for one in turn.segments:
            if isinstance(one, ImageRef):
                inside = 0 <= one.image < images
                require(inside, f"segment.image {one.image} names none of {images} images")


def _box(value: Any) -> Box:
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise FieldError(f"a box must be 4 numbers, not {value!r}")
    x1, y1, x2, y2 = value
    return pixels(x1, "a box"), pixels(y1, "a box"), pixels(x2, "a box"), pixels(y2, "a box")


def _point(value: Any) -> tuple[float, float]:
    require(isinstance(value, list | tuple) and len(value) == 2, f"a corner must be 2 numbers, not {value!r}")
    return pixels(value[0], "a quad"), pixels(value[1], "a quad")


def _quad(value: Any) -> Quad:
    require(isinstance(value, list | tuple) and len(value) == 4, f"a quad must be 4 corners, not {value!r}")
    first, second, third, fourth = (_point(one) for one in value)
    return first, second, third, fourth


def _segment_json(segment: Segment) -> dict[str, object]:
    """Returns every field of every kind of segment, null where this kind has none."""
    own = {name: getattr(segment, name) for name in segment.__slots__}
    return dict.fromkeys(SEGMENT_FIELDS) | own


def _image(value: Any) -> Image:
    record = fields(value, "image", IMAGE_FIELDS)
    width, height = whole(record["width"], "image.width"), whole(record["height"], "image.height")
    words = [string(record[name], f"image.{name}") for name in ("format", "sha256", "original_sha256")]
    require(words[2] != "", "image.original_sha256 must be 64 hex digits")
    return Image(words[0], width, height, words[1], words[2], optional(record["url"], "image.url"))


def _view(value: Any) -> View:
    record = fields(value, "view", VIEW_FIELDS)
    words = {name: string(record[name], f"view.{name}") for name in ("key", "task", "language", "licence")}
    turns = tuple(_turn(one) for one in array(record["turns"], "view.turns"))
    id_, extra = (optional(record[name], f"view.{name}") for name in ("id", "extra"))
    return View(**words, turns=turns, id=id_, extra=extra)


def _turn(value: Any) -> Turn:
    record = fields(value, "turn", ("role", "segments"))
    segments = tuple(_segment(one) for one in array(record["segments"], "turn.segments"))
    return Turn(string(record["role"], "turn.role"), segments)


def _segment(value: Any) -> Segment:
    record = fields(value, "segment", SEGMENT_FIELDS)
    used = tuple(name for name in SEGMENT_FIELDS if record[name] is not None)
    if used == ("text", "supervised"):
        return Text(
            string(record["text"], "segment.text"), boolean(record["supervised"], "segment.supervised")
        )
    if used == ("image",):
        return ImageRef(whole(record["image"], "segment.image"))
    require(
        used == ("phrase", "boxes", "quads", "supervised"),
        "a segment holds text and supervised, or image, or phrase, boxes, quads and supervised, and null elsewhere; "
        f"this one holds {', '.join(used) or 'nothing'}",
    )
    return Phrase(
        string(record["phrase"], "segment.phrase"),
        tuple(array(record["boxes"], "segment.boxes")),
        tuple(array(record["quads"], "segment.quads")),
        boolean(record["supervised"], "segment.supervised"),
    )
