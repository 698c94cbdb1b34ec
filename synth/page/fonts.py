"""Fonts: found in a folder or on the system, read for what they can write, never trusted blindly."""

import hashlib
import shutil
import struct
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

from fontTools.pens.recordingPen import DecomposingRecordingPen  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont, TTLibError  # type: ignore[import-untyped]
from PIL import ImageFont, features

from schemas.errors import InputError

SUFFIXES: Final = frozenset({".ttf", ".otf", ".ttc", ".otc"})
_FOLDERS: Final = ("/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "/System/Library/Fonts")
_MAX_FACES: Final = 64
_MAX_BYTES: Final = 100 << 20
_THINNEST: Final = 300
_COVERED: Final = 0.97
_DRAWN: Final = 0.8
_TRIED: Final = 200
_SAMPLE: Final = 20_000
_PROBE: Final = 24
_BROKEN: Final = (
    OSError,
    TTLibError,
    struct.error,
    ValueError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
)
"""What Pillow and fontTools raise for a damaged font."""
_OTHER_STANDARDS: Final = ("CJK JP", "CJK KR", "CJK TC", "CJK HK")
"""Collections hold one set of glyphs under five standards; the mainland's face stands for all."""
_EAST: Final = "apt-get install fonts-noto-cjk fonts-wqy-zenhei"
_USUAL: Final = "apt-get install fonts-dejavu fonts-liberation"
_REMEDIES: Final = {
    "Latin": _USUAL,
    "Greek": _USUAL,
    "Cyrillic": _USUAL,
    "Arabic": "apt-get install fonts-dejavu",
    **dict.fromkeys(("Han", "Hiragana", "Katakana", "Hangul", "Bopomofo"), _EAST),
}
_ANY: Final = "apt-get install fonts-noto-core"
_SHARED: Final = 5
"""So many letters of one shape are the box for missing ones; Latin, Greek and Cyrillic share up to three."""


Shape = tuple[tuple[int, int], bytes]
"""A glyph's size in pixels and its grey levels."""


def shaping() -> str:
    """`raqm` where Pillow can shape joined and right-to-left scripts, else `basic`."""
    return "raqm" if features.check("raqm") else "basic"


@dataclass(frozen=True, slots=True)
class Identity:
    """What names a font: its full name, its version, and the SHA-256 of its file with its place inside."""

    name: str
    version: str
    digest: str
    face: int = 0


class Face:
    """One face of a font file; `identity` says which, `covers` what it can draw."""

    def __init__(self, path: Path, index: int, identity: Identity, characters: frozenset[int]) -> None:
        self.identity = identity
        self._path = path
        self._index = index
        self._characters = characters
        self._drawn: dict[str, bool] = {}
        self._boxes: set[Shape] = set()
        self._sizes: dict[int, ImageFont.FreeTypeFont] = {}

    def sized(self, size: int) -> ImageFont.FreeTypeFont:
        """The face at `size` pixels an em, opened once for each size."""
        if size not in self._sizes:
            if len(self._sizes) > 40:
                self._sizes.clear()
            self._sizes[size] = ImageFont.truetype(self._path, size, index=self._index)
        return self._sizes[size]

    def covers(self, text: str) -> bool:
        """Whether each character of `text` is in the character map and has a shape of its own."""
        return all(self._covers(char) for char in text)

    def share(self, characters: Sequence[str]) -> float:
        """The share of `characters` in the face's character map."""
        return sum(ord(char) in self._characters for char in characters) / max(len(characters), 1)

    def drawn(self, characters: Sequence[str]) -> float:
        """The share of `characters` that have shapes of their own.

        A shape that many letters have is a box by another name: it covers nothing from now on.
        """
        letters = [char for char in characters if char.isalpha() and self.covers(char)]
        shapes = Counter(_shape(self.sized(_PROBE).getmask(char)) for char in letters)
        boxes = {shape for shape, count in shapes.items() if count >= _SHARED}
        if boxes:
            self._boxes |= boxes
            self._drawn.clear()
        return sum(self.covers(char) for char in characters) / max(len(characters), 1)

    def _covers(self, char: str) -> bool:
        known = self._drawn.get(char)
        if known is None:
            known = ord(char) in self._characters and (char == " " or self._has_shape(char))
            self._drawn[char] = known
        return known

    def _has_shape(self, char: str) -> bool:
        """A map may promise a character and draw nothing, or the box that stands for what is missing."""
        font = self.sized(_PROBE)
        try:
            mask = font.getmask(char)
            box = mask.getbbox()
            missing = font.getmask("\uffff").getbbox()
        except OSError:
            return False
        if box is None or _shape(mask) in self._boxes:
            return False
        # hinting draws one outline in two ways, so what comes near the missing box is compared by outline
        near = missing is not None and max(abs(a - b) for a, b in zip(box, missing, strict=True)) <= 1
        try:
            return not near or self._outline(char) != self._outline(None)
        except _BROKEN:
            return False

    def _outline(self, char: str | None) -> object:
        """The outline of a character, or of the glyph for missing ones."""
        glyphs, names = self._glyphs
        pen = DecomposingRecordingPen(glyphs)
        glyphs[".notdef" if char is None else names[ord(char)]].draw(pen)
        return pen.value

    @cached_property
    def _glyphs(self) -> tuple[Any, dict[int, str]]:
        font = TTFont(self._path, fontNumber=self._index, lazy=True)
        return font.getGlyphSet(), font.getBestCmap()


def _shape(mask: Any) -> Shape:
    return mask.size, bytes(mask)


@dataclass(frozen=True, slots=True)
class Fonts:
    """The faces found, in an order that no path decides."""

    faces: tuple[Face, ...]

    def for_text(self, sample: str, language: str) -> tuple[Face, ...]:
        """The faces that can write `sample`; InputError with a remedy where there is none."""
        characters = sorted(set(sample) - {" "})
        some = characters[:: max(1, len(characters) // _TRIED)]
        fit = tuple(
            face for face in self.faces if face.share(characters) >= _COVERED and face.drawn(some) >= _DRAWN
        )
        if not fit:
            script = _script(characters)
            remedy = _REMEDIES.get(script, _ANY)
            raise InputError(
                f"none of {len(self.faces)} fonts can write {script}, the script of language {language}: {remedy}, "
                "or name a folder with a font that can"
            )
        return fit


def find(folder: Path | None = None) -> Fonts:
    """The fonts of `folder`, or of the system where none is named. Raises InputError where there are none."""
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder} is no folder of fonts")
    files = sorted(_inside(folder)) if folder else sorted(_installed())
    faces = {face.identity: face for file in files for face in _read(file)}
    if not faces:
        raise InputError(f"no font was found in {folder or 'the system'}: {_USUAL}")
    ordered = sorted(faces.items(), key=lambda item: (item[0].name, item[0].digest, item[0].face))
    return Fonts(tuple(face for _, face in ordered))


def _inside(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _installed() -> set[Path]:
    """Font files by fontconfig, or from the usual folders where it is not installed."""
    if shutil.which("fc-list"):
        answer = subprocess.run(
            ["fc-list", "--format", "%{file}\n"], capture_output=True, text=True, timeout=60, check=False
        )
        files = {Path(line) for line in answer.stdout.splitlines() if line}
        return {path for path in files if path.suffix.lower() in SUFFIXES}
    folders = [Path(name) for name in _FOLDERS if Path(name).is_dir()]
    return {path for folder in folders for path in _inside(folder)}


def _read(path: Path) -> tuple[Face, ...]:
    """Returns the faces of one file that are fit to use; none of a file that cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return _read_as(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _read_as(path: Path, size: int, changed: int) -> tuple[Face, ...]:
    """`_read`, once for each state of a file."""
    if size > _MAX_BYTES:
        return ()
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        count = struct.unpack(">I", data[8:12])[0] if data[:4] == b"ttcf" else 1
        faces = [_face(path, index, digest) for index in range(min(count, _MAX_FACES))]
    except _BROKEN:
        return ()
    return tuple(face for face in faces if face is not None)


def _face(path: Path, index: int, digest: str) -> Face | None:
    """Returns one face; None where it is too thin, for another Han standard, or without a character map."""
    with TTFont(path, fontNumber=index, lazy=True) as font:
        names = font["name"]
        weight = font["OS/2"].usWeightClass if "OS/2" in font else 400
        name = names.getDebugName(4) or names.getDebugName(1) or ""
        version = names.getDebugName(5) or ""
        if weight < _THINNEST or any(f" {standard}" in name for standard in _OTHER_STANDARDS):
            return None
        characters = font.getBestCmap()
    if not characters:
        return None
    ImageFont.truetype(path, _PROBE, index=index).getmask("a")
    return Face(path, index, Identity(str(name), str(version), digest, index), frozenset(characters))


def _script(characters: Iterable[str]) -> str:
    """The script of most letters, by the first word of their Unicode names."""
    found = Counter(unicodedata.name(char, "").partition(" ")[0] for char in characters if char.isalpha())
    first = max(sorted(found), key=lambda name: found[name], default="these signs")
    return "Han" if first == "CJK" else first.capitalize()


def sample(passages: Sequence[str]) -> str:
    """Some of a text, from all over it, to try fonts on."""
    step = max(1, len(passages) // 200)
    return "".join(passages[::step])[:_SAMPLE].translate({ord(mark): None for mark in "{}_"})
