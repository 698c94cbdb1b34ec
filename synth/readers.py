"""OCR engines behind one method: what is written in a picture, and where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import yaml
from numpy.typing import NDArray

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
    """Whatever reads a picture; `alphabet` holds the characters it can write, empty where not known."""

    alphabet: frozenset[str]

    def read(self, pixels: Pixels) -> list[Found]:
        """The lines found on a (height, width, 3) RGB picture."""
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
        """The lines found on a (height, width, 3) RGB picture."""
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
        """The lines found on a (height, width, 3) RGB picture."""
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
