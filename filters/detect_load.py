"""Open-vocabulary detectors of transformers: OWL-ViT, OWLv2, Grounding DINO and MM Grounding DINO."""

import importlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from filters.detect import Detector, Found, Pixels, limited, tidied
from filters.weights import HOST, LOADING, is_out_of_reach, line, weights_digest
from schemas.errors import ModelError, missing
from schemas.ground import COLOURS, DetectorSettings

if TYPE_CHECKING:
    import torch

LIBRARIES: Final = ("numpy", "pillow", "tokenizers", "torch", "transformers")
QUERIES: Final = ("owlvit", "owlv2")
"""Models that take each phrase as a query of its own."""
SENTENCES: Final = ("grounding-dino", "mm-grounding-dino")
"""Models that read all phrases as one text."""

_LOADING: Final = (*LOADING, ImportError)


def load_detector(settings: DetectorSettings, device: str = "auto") -> Detector:
    """The detector that the settings name, ready to run.

    Raises ModelError: no transformers, no such folder, weights that are damaged or of another architecture, a hub
    that does not answer, a model that detects no phrases.
    """
    if settings.model == COLOURS:
        from filters.detect import ColourDetector

        return Limited(ColourDetector(), settings)
    return Limited(ZeroShot(settings, device), settings)


class Limited:
    """A detector of which only the best boxes above the floor are written down."""

    def __init__(self, detector: Detector, settings: DetectorSettings) -> None:
        self.id = detector.id
        self._detector, self._settings = detector, settings

    def detect(self, picture: Pixels, phrases: Sequence[str]) -> list[Found]:
        """At most `per_phrase` boxes of each phrase; nothing is run where there is no phrase."""
        if not phrases:
            return []
        found = self._detector.detect(picture, phrases)
        return limited(found, self._settings.floor, self._settings.per_phrase)


class ZeroShot:
    """A model of AutoModelForZeroShotObjectDetection with its processor, in fp32.

    One picture goes through at a time, with its own phrases: then shapes, and so the last bits, depend on
    nothing but the row. Making one sets torch's number of threads for the whole process.
    """

    def __init__(self, settings: DetectorSettings, device: str = "auto") -> None:
        self._model, self._processor, name = _loaded(settings)
        import torch

        torch.set_num_threads(settings.threads)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._kind = str(self._model.config.model_type)
        prepared = json.loads(self._processor.image_processor.to_json_string())
        digest = weights_digest(self._model, json.dumps(prepared, sort_keys=True).encode())
        self.id = f"{name}@{digest}"
        self._model.requires_grad_(False).eval().to(device)
        self._device = device

    def detect(self, picture: Pixels, phrases: Sequence[str]) -> list[Found]:
        """Every box that the model proposes, with the phrase that it fits best and how well (0-1)."""
        import torch

        with torch.inference_mode():
            if self._kind in QUERIES:
                boxes, scores, numbers = self._queried(picture, phrases)
            else:
                boxes, scores, numbers = self._read(picture, phrases)
        height, width = picture.shape[:2]
        # OWLv2 pads pictures to a square below and to the right
        scale = (max(width, height),) * 2 if self._kind == "owlv2" else (width, height)
        corners = _corners(boxes) * np.array([*scale, *scale], np.float64)
        return tidied(corners, scores, numbers, (width, height))

    def _queried(self, picture: Pixels, phrases: Sequence[str]) -> tuple[Any, Any, Any]:
        length = int(self._model.config.text_config.max_position_embeddings)
        inputs = self._processor(
            text=[list(phrases)],
            images=[_image(picture)],
            return_tensors="pt",
            padding="max_length",
            truncation=True,
            max_length=length,
        )
        outputs = self._model(**inputs.to(self._device))
        best = outputs.logits[0].float().sigmoid().max(dim=-1)
        return _array(outputs.pred_boxes[0]), _array(best.values), _array(best.indices)

    def _read(self, picture: Pixels, phrases: Sequence[str]) -> tuple[Any, Any, Any]:
        text, places = joined(phrases)
        inputs = self._processor(
            text=text,
            images=[_image(picture)],
            return_tensors="pt",
            truncation=True,
            max_length=int(getattr(self._model.config, "max_text_len", 256)),
            return_offsets_mapping=True,
        )
        offsets = inputs.pop("offset_mapping")[0].tolist()
        outputs = self._model(**inputs.to(self._device))
        scores = _array(outputs.logits[0].float().sigmoid())
        fits = np.zeros((len(scores), len(phrases)))
        for number, (start, end) in enumerate(places):
            tokens = [at for at, (a, b) in enumerate(offsets) if a < b and a < end and b > start]
            if tokens:
                fits[:, number] = scores[:, tokens].max(axis=1)
        return _array(outputs.pred_boxes[0]), fits.max(axis=1), fits.argmax(axis=1)


def joined(phrases: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The text that Grounding DINO reads, `a dog. a red cat.`, and where in it each phrase stands.

    Full stops and question marks within a phrase, which would part it, become spaces.
    """
    text, places = "", []
    for phrase in phrases:
        words = " ".join(phrase.lower().replace(".", " ").replace("?", " ").split())
        places.append((len(text), len(text) + len(words)))
        text += f"{words}. "
    return text.rstrip(), places


def _corners(boxes: Any) -> Any:
    """Centre, width and height as two corners."""
    centre, half = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _image(picture: Pixels) -> Any:
    from PIL import Image

    return Image.fromarray(picture)


def _array(tensor: "torch.Tensor") -> Any:
    return tensor.cpu().numpy()


def _loaded(settings: DetectorSettings) -> tuple[Any, Any, str]:
    """(model, processor, public name)."""
    try:
        transformers: Any = importlib.import_module("transformers")
    except (ImportError, RuntimeError, OSError) as error:
        raise ModelError(
            f"{missing('grounding', 'torch', 'torchvision', 'transformers')} ({line(error)})"
        ) from error
    local = os.path.isdir(settings.model)
    if not local and (settings.model.startswith((".", "/", "~")) or settings.model.count("/") != 1):
        raise ModelError(
            f"no detector at {settings.model}: give a folder of transformers, OWNER/NAME, or {COLOURS}"
        )
    offline = not local and is_out_of_reach(HOST)
    options: dict[str, Any] = {"local_files_only": local or offline, "trust_remote_code": False}
    if settings.revision and not local:
        options["revision"] = settings.revision
    try:
        with _quiet():
            config = transformers.AutoConfig.from_pretrained(settings.model, **options)
            if config.model_type not in (*QUERIES, *SENTENCES):
                known = ", ".join((*QUERIES, *SENTENCES))
                raise ModelError(
                    f"{settings.model} is a model of type {config.model_type}: detectors are {known}"
                )
            processor = transformers.AutoProcessor.from_pretrained(settings.model, **options)
            model, report = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(
                settings.model, use_safetensors=True, output_loading_info=True, **options
            )
    except (*_LOADING, _damaged()) as error:
        raise ModelError(_sentence(settings.model, local, offline, error)) from error
    if report["missing_keys"]:
        absent = sorted(report["missing_keys"])
        raise ModelError(
            f"the weights of {settings.model} lack {len(absent)} tensors, {absent[0]} first: "
            "they are of another architecture"
        )
    return model, processor, "local" if local else settings.model


def _sentence(model: str, local: bool, offline: bool, error: Exception) -> str:
    if local:
        return f"the detector in {model} cannot be loaded: {line(error)}"
    if offline:
        return f"{model} is not in the local cache and {HOST} does not answer; give the path of a checkpoint instead"
    return f"{model} cannot be fetched from {HOST} (is there such a model, with safetensors?): {line(error)}"


def _damaged() -> type[Exception]:
    """What is raised for a file that is no whole safetensors."""
    from safetensors import SafetensorError

    kind: type[Exception] = SafetensorError
    return kind


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences warnings and progress bars; errors still raise."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def files_of(model: str) -> list[Path]:
    """The files that decide what a local detector gives, sorted; none for a name on the hub."""
    folder = Path(model)
    if not folder.is_dir():
        return []
    return sorted(
        one for one in folder.iterdir() if one.suffix in (".json", ".safetensors", ".txt", ".model")
    )
