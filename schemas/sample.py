"""One training example, neutral as to the model that will read it.

The JSON form is the contract between the corpus and whoever trains on it: a shard's KEY.json, and the
column `sample` of every index, are exactly `Sample.to_json()`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from schemas.strict import FieldError, array, boolean, dumps, fields, loads, pixels, require, string, whole

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the stored image."""
Quad = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""Four corners in pixels of the stored image, clockwise from the top left of the text."""

ROLES: Final = ("document", "system", "user", "assistant")
"""Who speaks in a turn; `document` is nobody: the turn is the matter itself."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the samples of a task are for: how many `images` one has, and the Hub's name for the task, `category`.

    `template` says what a sample looks like that fits the task's stage-2 template; empty where it has none.
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
"""The tasks that samples are for: the one list of them."""

GROUNDED: Final = tuple(name for name, task in TASKS.items() if task.grounded)
"""The tasks whose samples say what lies where in their one image."""

SEVERAL: Final = tuple(name for name, task in TASKS.items() if task.images == "many")
"""Tasks whose samples may have several images; those of all others have one or none."""

PNG_METADATA_BYTES: Final = 16 * 1024 * 1024
"""A text or colour profile of a PNG may unpack to this; Pillow's own limit, 1 MiB, is below what is published."""

_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,90}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Image:
    """What is known of one image of a sample: its format (as Pillow names it), size and digest."""

    format: str
    width: int
    height: int
    sha256: str

    def __post_init__(self) -> None:
        require(self.width > 0 and self.height > 0, "image.width and image.height must be above 0")
        require(_SHA256.fullmatch(self.sha256) is not None, "image.sha256 must be 64 hex digits")


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
class Sample:
    """One training example; images are named by their place in `images`, their bytes lie beside it."""

    key: str
    task: str
    split: str
    language: str
    source: str
    licence: str
    images: tuple[Image, ...]
    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        ok = _KEY.fullmatch(self.key) is not None
        require(ok, f"key must be 1 to 90 letters, digits, - or _, not {self.key!r}")
        for one in self.segments:
            if isinstance(one, ImageRef):
                inside = 0 <= one.image < len(self.images)
                require(inside, f"segment.image {one.image} names none of {len(self.images)} images")

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
        """Returns all words of the sample in reading order; turns are parted by a line feed."""
        return "\n".join(words_of(turn.segments) for turn in self.turns)

    def to_json(self) -> str:
        """Returns one line of JSON: sorted keys, characters as they are, the same sample always the same text."""
        record = {name: getattr(self, name) for name in SAMPLE_FIELDS[:6]}
        record["images"] = [{name: getattr(image, name) for name in _IMAGE} for image in self.images]
        record["turns"] = turns_json(self.turns)
        return dumps(record)

    @classmethod
    def from_json(cls, line: str | bytes) -> "Sample":
        """Returns the sample that `line` holds; raises FieldError where a field is missing, unknown or wrong."""
        record = fields(loads(line), "sample", SAMPLE_FIELDS)
        words = {name: string(record[name], name) for name in SAMPLE_FIELDS[:6]}
        images = tuple(_image(one) for one in array(record["images"], "images"))
        turns = tuple(_turn(one) for one in array(record["turns"], "turns"))
        return cls(**words, images=images, turns=turns)


def words_of(segments: Iterable[Segment]) -> str:
    """Returns the words of texts and phrases, as they follow each other."""
    return "".join(
        one.text if isinstance(one, Text) else one.phrase for one in segments if not isinstance(one, ImageRef)
    )


def turns_json(turns: tuple[Turn, ...]) -> list[dict[str, Any]]:
    """Returns turns as a sample's JSON has them."""
    return [{"role": turn.role, "segments": [_segment_json(one) for one in turn.segments]} for turn in turns]


SAMPLE_FIELDS: Final = ("key", "task", "split", "language", "source", "licence", "images", "turns")
SEGMENT_FIELDS: Final = ("text", "image", "phrase", "boxes", "quads", "supervised")
"""Every segment has all of them, null where unused: readers that infer columns must not meet a new one later."""
_IMAGE: Final = ("format", "width", "height", "sha256")


def sample_key(pair_key: str, task: str, ordinal: int) -> str:
    """Returns the key of a sample, without a dot: the key of its pair, its task, and its number among those."""
    return f"{pair_key}-{task}-{ordinal}"


def caption_sample(
    pair_key: str,
    caption: str,
    image: Image,
    *,
    split: str,
    language: str,
    source: str,
    licence: str,
    ordinal: int = 0,
) -> Sample:
    """Returns an image with its caption, and nothing of a prompt: the markup adds that."""
    turn = Turn("document", (ImageRef(0), Text(caption, supervised=True)))
    key = sample_key(pair_key, "caption", ordinal)
    return Sample(key, "caption", split, language, source, licence, (image,), (turn,))


def text_sample(
    pair_key: str, text: str, *, split: str, language: str, source: str, licence: str, ordinal: int = 0
) -> Sample:
    """Returns a sample of pure text, all of it taught."""
    turn = Turn("document", (Text(text, supervised=True),))
    return Sample(
        sample_key(pair_key, "text", ordinal), "text", split, language, source, licence, (), (turn,)
    )


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
    record = fields(value, "image", _IMAGE)
    width, height = whole(record["width"], "image.width"), whole(record["height"], "image.height")
    return Image(
        string(record["format"], "image.format"), width, height, string(record["sha256"], "image.sha256")
    )


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
