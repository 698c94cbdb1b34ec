"""OCR engines behind one method, and how far what they read on a page agrees with what is known."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from schemas.errors import InputError, missing
from schemas.sample import Quad

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Found:
    """A line that was read: its text, its quad in pixels, and the reader's trust in it, 0 to 1."""

    text: str
    quad: Quad
    score: float


class TextReader(Protocol):
    """Whatever reads an image; `alphabet` holds the characters it can write, empty where not known."""

    alphabet: frozenset[str]

    def read(self, pixels: Pixels) -> list[Found]:
        """The lines found on a (height, width, 3) RGB image."""
        ...


class RapidReader:
    """PP-OCR in ONNX; its models come inside rapidocr's wheel, nothing is downloaded."""

    def __init__(self, threads: int = 1, longest: int = 1600) -> None:
        try:
            from rapidocr import RapidOCR
        except ImportError as error:
            raise InputError(missing("reading text", "rapidocr", "onnxruntime")) from error
        engine = "EngineConfig.onnxruntime"
        parameters = {
            "Global.log_level": "error",
            "Global.max_side_len": longest,
            f"{engine}.intra_op_num_threads": threads,
            f"{engine}.inter_op_num_threads": 1,
        }
        self._engine: Any = RapidOCR(params=parameters)
        # the recogniser, and with it its alphabet, is loaded by the first reading
        self._engine(np.full((48, 320, 3), 255, np.uint8), use_det=False, use_cls=False)
        recogniser: Any = self._engine.text_rec
        self.alphabet = frozenset(recogniser.postprocess_op.character)

    def read(self, pixels: Pixels) -> list[Found]:
        """The lines found on a (height, width, 3) RGB image."""
        answer: Any = self._engine(
            np.ascontiguousarray(pixels[..., ::-1]), use_det=True, use_cls=False, use_rec=True
        )
        if answer.boxes is None or answer.txts is None:
            return []
        rows = zip(answer.txts, answer.boxes.tolist(), answer.scores, strict=True)
        return [Found(str(text), quad_of(box), float(score)) for text, box, score in rows]


class PaddleReader:
    """PP-OCR by PaddleOCR itself (`pip install paddleocr paddlepaddle`).

    `models` is a folder with the folders det and rec, each a model as PaddleOCR exports it (inference.yml
    names it); without one PaddleOCR downloads its own. Raises InputError where the package, or a model,
    is not to be had.
    """

    def __init__(self, models: Path | None = None, threads: int = 1) -> None:
        try:
            from paddleocr import PaddleOCR  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise InputError(missing("this reader", "paddleocr", "paddlepaddle", ours=False)) from error
        switches = ("use_doc_orientation_classify", "use_doc_unwarping", "use_textline_orientation")
        options: dict[str, Any] = dict.fromkeys(switches, False)
        self.alphabet: frozenset[str] = frozenset()
        if models is not None:
            detector, recogniser = _exported(models / "det"), _exported(models / "rec")
            options |= {
                "text_detection_model_dir": str(models / "det"),
                "text_detection_model_name": detector["Global"]["model_name"],
                "text_recognition_model_dir": str(models / "rec"),
                "text_recognition_model_name": recogniser["Global"]["model_name"],
            }
            letters = recogniser.get("PostProcess", {}).get("character_dict", ())
            self.alphabet = frozenset((*map(str, letters), " ")) if letters else frozenset()
        try:
            # oneDNN of paddlepaddle 3.3 fails on PP-OCR's detectors
            self._engine = PaddleOCR(enable_mkldnn=False, cpu_threads=threads, **options)
        except Exception as error:  # PaddleX raises plain Exception where no model can be had
            raise InputError(
                f"PaddleOCR cannot load its models ({type(error).__name__}): let it download them once, or name "
                "a folder with det/ and rec/"
            ) from error

    def read(self, pixels: Pixels) -> list[Found]:
        """The lines found on a (height, width, 3) RGB image."""
        answers: Any = self._engine.predict(np.ascontiguousarray(pixels[..., ::-1]))
        found = []
        for answer in answers:
            rows = zip(answer["rec_texts"], answer["rec_polys"], answer["rec_scores"], strict=True)
            found += [Found(str(text), quad_of(np.asarray(box).tolist()), float(s)) for text, box, s in rows]
        return found


READERS: Final = ("rapidocr", "paddleocr")
"""The readers by the names that a recipe gives them."""


def open_reader(name: str = READERS[0], models: Path | None = None) -> TextReader:
    """The reader of that name; InputError where it, or its models, are not to be had."""
    if name not in READERS:
        raise InputError(f"reader must be one of {', '.join(READERS)}, not {name!r}")
    return RapidReader() if name == "rapidocr" else PaddleReader(models)


def quad_of(points: Sequence[Sequence[float]]) -> Quad:
    """Four points as a quad."""
    a, b, c, d = ((float(x), float(y)) for x, y in points)
    return a, b, c, d


def _exported(folder: Path) -> Mapping[str, Any]:
    """The inference.yml of an exported model."""
    try:
        told = yaml.safe_load((folder / "inference.yml").read_text("utf-8"))
        if str(told["Global"]["model_name"]):
            return dict(told)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError):
        pass
    raise InputError(f"{folder} holds no exported model of PaddleOCR: inference.yml must name it")


_SAME: Final = str.maketrans("‘’‚′“”„″–—―−‐‑·•・｀", "''''\"\"\"\"------...`")
_COVERED: Final = 0.5
_SURE: Final = 0.9


def can_read(reader: TextReader, text: str) -> bool:
    """Whether at least nine in ten characters of `text` are in the reader's alphabet."""
    seen = plain(text)
    return not reader.alphabet or sum(char in reader.alphabet for char in seen) >= 0.9 * len(seen)


def is_judge(reader: TextReader, text: str, found: Sequence[Found]) -> bool:
    """Whether what was read on a page tells anything of its `text`.

    It does where the reader can write the text; and where it is sure of at least half as many characters
    as that has, for then the page shows a script that the reader knows, whatever is said to be on it.
    """
    sure = sum(len(plain(one.text)) for one in found if one.score >= _SURE)
    return can_read(reader, text) or sure >= 0.5 * len(plain(text))


@dataclass(frozen=True, slots=True)
class Agreement:
    """What reading back a page gave, summed over its lines.

    `characters` in the truth, `errors` (edits) among them, `extra` characters read where nothing is
    known, and of `lines` how many are `covered` by what was found.
    """

    characters: int = 0
    errors: int = 0
    extra: int = 0
    lines: int = 0
    covered: int = 0

    def __add__(self, other: "Agreement") -> "Agreement":
        pairs = zip(self._values, other._values, strict=True)
        return Agreement(*(mine + theirs for mine, theirs in pairs))

    @property
    def _values(self) -> tuple[int, ...]:
        return self.characters, self.errors, self.extra, self.lines, self.covered

    @property
    def error_rate(self) -> float:
        """Edits for each known character; 1 where nothing is known but something was read."""
        if not self.characters:
            return 1.0 if self.extra else 0.0
        return self.errors / self.characters


def agree(truth: Sequence[tuple[str, Quad]], found: Sequence[Found]) -> Agreement:
    """How far `found` agrees with `truth`.

    Known and found lines that lie on each other form groups; a group's texts are read row by row,
    left to right, and compared as one, for a reader may join two columns or part one line.
    """
    shapes = [np.array(quad, np.float32) for _, quad in truth]
    seen = [np.array(one.quad, np.float32) for one in found]
    shares = _overlaps(shapes, seen)
    total = Agreement(lines=len(truth), covered=sum(_covered(shapes, seen, shares)))
    for known, read in _groups(shares, np.array([_area(quad) for quad in shapes])):
        right = _joined([truth[at][0] for at in known], [shapes[at] for at in known])
        wrong = _joined([found[at].text for at in read], [seen[at] for at in read])
        if known:
            total += Agreement(
                characters=len(right), errors=min(Levenshtein.distance(right, wrong), len(right))
            )
        else:
            total += Agreement(extra=len(wrong))
    return total


def plain(text: str) -> str:
    """`text` as it is compared: NFKC, no white space, one kind of quote, dash and dot, leaders as one dot."""
    even = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).translate(_SAME))
    return re.sub(r"\.{3,}", ".", re.sub(r"\s+", "", even))


def _overlaps(truth: list[Any], found: list[Any]) -> NDArray[np.float64]:
    """(truth, found): area of the intersection in square pixels."""
    areas = np.zeros((len(truth), len(found)))
    boxes = [(*quad.min(0), *quad.max(0)) for quad in truth], [(*quad.min(0), *quad.max(0)) for quad in found]
    for row, a in enumerate(boxes[0]):
        for column, b in enumerate(boxes[1]):
            if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]:
                areas[row, column] = _intersection(truth[row], found[column])
    return areas


def _intersection(first: Any, second: Any) -> float:
    return float(cv2.intersectConvexConvex(cv2.convexHull(first), cv2.convexHull(second))[0])


def _area(quad: Any) -> float:
    return float(cv2.contourArea(cv2.convexHull(quad)))


def _covered(truth: list[Any], found: list[Any], shares: NDArray[np.float64]) -> list[bool]:
    """For each known line: IoU of at least 0.5 with one found line, or with all that lie on its row.

    Several found lines on one known line count together; where one found line spans several known
    ones of a row, these are taken together in turn.
    """
    own, theirs = [_area(quad) for quad in truth], [_area(quad) for quad in found]
    verdicts = []
    for row, area in enumerate(own):
        parts = [at for at in range(len(found)) if shares[row, at] > 0.3 * min(area, theirs[at])]
        inside = sum(shares[row, at] for at in parts)
        best = inside / max(area + sum(theirs[at] for at in parts) - inside, 1e-9)
        for at in parts:
            mates = [one for one in range(len(truth)) if shares[one, at] > 0.5 * own[one]]
            shared = sum(shares[one, at] for one in mates)
            best = max(best, shared / max(theirs[at] + sum(own[one] for one in mates) - shared, 1e-9))
            single = shares[row, at]
            best = max(best, single / max(area + theirs[at] - single, 1e-9))
        verdicts.append(bool(best >= _COVERED))
    return verdicts


def _groups(shares: NDArray[np.float64], own: NDArray[np.float64]) -> list[tuple[list[int], list[int]]]:
    """Known and found lines that belong together: each found line joins the known ones it mostly lies on,
    and those (of areas `own`) that mostly lie under it."""
    rows, columns = shares.shape
    leader = list(range(rows))

    def root(at: int) -> int:
        while leader[at] != at:
            at = leader[at]
        return at

    owners = []
    for column in range(columns):
        on = shares[:, column]
        mates = [row for row in range(rows) if on[row] > 0 and on[row] >= min(0.4 * on.max(), 0.5 * own[row])]
        for mate in mates[1:]:
            leader[root(mate)] = root(mates[0])
        owners.append(mates[0] if mates else None)
    groups: dict[int, tuple[list[int], list[int]]] = {}
    for row in range(rows):
        groups.setdefault(root(row), ([], []))[0].append(row)
    strays: list[tuple[list[int], list[int]]] = []
    for column, owner in enumerate(owners):
        if owner is None:
            strays.append(([], [column]))
        else:
            groups[root(owner)][1].append(column)
    return [*groups.values(), *strays]


def _joined(texts: Sequence[str], quads: Sequence[Any]) -> str:
    """The texts in reading order: rows from the top, each from the left; a row is as high as its first."""
    items = sorted(
        ((quad.mean(0).tolist(), _height(quad), text) for text, quad in zip(texts, quads, strict=True)),
        key=lambda item: (item[0][1], item[0][0]),
    )
    rows: list[list[Any]] = []
    for item in items:
        if rows and item[0][1] - rows[-1][0][0][1] < 0.5 * max(item[1], rows[-1][0][1]):
            rows[-1].append(item)
        else:
            rows.append([item])
    return plain("".join(text for row in rows for *_, text in sorted(row, key=lambda one: one[0][0])))


def _height(quad: Any) -> float:
    return float((np.linalg.norm(quad[3] - quad[0]) + np.linalg.norm(quad[2] - quad[1])) / 2)
