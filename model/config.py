"""What a model is: its sizes, as read from a preset or from a saved model's config.json."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from schemas.errors import RecipeError

PRESETS: Final = ("tiny", "small", "base", "qwen-vl-7b")

CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)

_LARGEST: Final = 1 << 20

Bounds = tuple[float, float]
"""The least and the largest value of a number."""

LIMITS: Final[Mapping[str, Mapping[str, Bounds]]] = {
    "vision": {
        "width": (1, 1 << 16),
        "layers": (1, 1024),
        "heads": (1, 4096),
        "mlp": (1, 1 << 18),
        "patch": (1, 1024),
        "grid": (1, 1024),
        "eps": (1e-12, 1),
    },
    "adapter": {"queries": (1, 1 << 14), "heads": (1, 4096), "eps": (1e-12, 1)},
    "language": {
        "vocab": (1, 1 << 24),
        "hidden": (1, 1 << 16),
        "layers": (1, 1024),
        "heads": (1, 4096),
        "mlp": (1, 1 << 18),
        "context": (1, 1 << 22),
        "rope_base": (1, 1e12),
        "eps": (1e-12, 1),
    },
}
"""What the numbers of a model's parts may be: several times the largest models that exist."""

LARGEST_SIDE: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """A vision transformer without class token; `grid` is the side of its learned position table."""

    width: int
    layers: int
    heads: int
    mlp: int
    patch: int
    grid: int
    eps: float = 1e-6

    def __post_init__(self) -> None:
        bounded(self, LIMITS["vision"], "model: vision.")
        _require(self.width % self.heads == 0, "vision.width must be a multiple of vision.heads")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """One cross-attention layer of `queries`, a square number, learned queries."""

    queries: int
    heads: int
    eps: float = 1e-6

    def __post_init__(self) -> None:
        bounded(self, LIMITS["adapter"], "model: adapter.")
        _require(math.isqrt(self.queries) ** 2 == self.queries, "adapter.queries must be a square number")


@dataclass(frozen=True, slots=True)
class LanguageConfig:
    """A decoder as Qwen-7B: RMSNorm, rotary positions, SwiGLU, bias on query, key and value, own head."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    mlp: int
    context: int = 2048
    rope_base: float = 10_000.0
    eps: float = 1e-6

    def __post_init__(self) -> None:
        bounded(self, LIMITS["language"], "model: language.")
        _require(self.hidden % self.heads == 0, "language.hidden must be a multiple of language.heads")
        _require(self.hidden // self.heads % 2 == 0, "language.hidden / language.heads must be even")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The three parts, and the sides in pixels of its images; stages that name no side take the first."""

    name: str
    vision: VisionConfig
    adapter: AdapterConfig
    language: LanguageConfig
    sides: tuple[int, ...]

    def __post_init__(self) -> None:
        _require(0 < len(self.sides) <= 16, "sides must name 1 to 16 sides")
        for side in self.sides:
            _require(is_number(side, int, (1, LARGEST_SIDE)), f"a side must be 1 to {LARGEST_SIDE} pixels")
            _require(side % self.vision.patch == 0, f"side {side} is no multiple of the patch")
        hidden = self.language.hidden
        _require(hidden % self.adapter.heads == 0, "language.hidden must be a multiple of adapter.heads")
        _require(hidden % 4 == 0, "language.hidden must be a multiple of 4: 2-D positions take quarters")

    def to_json(self) -> str:
        """Returns the config as it lies beside the weights: sorted keys, two spaces."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any]) -> "ModelConfig":
        """Returns the config that `value` spells; raises RecipeError with what is missing, unknown or wrong."""
        _names(value, "model", ("name", "vision", "adapter", "language", "sides"))
        return cls(
            name=str(value["name"])[:100],
            vision=_part(VisionConfig, value["vision"], "vision"),
            adapter=_part(AdapterConfig, value["adapter"], "adapter"),
            language=_part(LanguageConfig, value["language"], "language"),
            sides=tuple(value["sides"]) if isinstance(value["sides"], list | tuple) else (value["sides"],),
        )


def preset_document(name: str) -> dict[str, Any]:
    """Returns the preset's YAML: `model`, `tokenizer`, `stages`; `name` may be the path of a YAML file."""
    if name in PRESETS:
        text = resources.files("model").joinpath("presets", f"{name}.yaml").read_bytes()
    elif name.endswith((".yaml", ".yml")) and Path(name).is_file():
        with Path(name).open("rb") as file:
            text = file.read(_LARGEST + 1)
    else:
        raise RecipeError(f"there is no preset {name!r}; choose {', '.join(PRESETS)} or name a YAML file")
    if len(text) > _LARGEST:
        raise RecipeError(f"preset {name}: it has more than {_LARGEST >> 20} MiB")
    try:
        document = yaml.safe_load(text)
    # a date 2024-99-99 is a ValueError, a nest without end a RecursionError
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:
        raise RecipeError(f"preset {name}: it is not valid YAML ({type(error).__name__})") from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise RecipeError(f"preset {name}: it must be a mapping with the key `model`")
    return document


def preset(name: str) -> ModelConfig:
    document = preset_document(name)
    return ModelConfig.from_mapping({"name": Path(name).stem, **document["model"]})


def read_config(folder: Path) -> ModelConfig:
    """Returns the config of a saved model; raises RecipeError where the folder holds none."""
    value = read_json(folder / "config.json")
    if not value:
        raise RecipeError(f"{folder} holds no saved model: config.json is missing")
    return ModelConfig.from_mapping(value)


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a small JSON file, empty where there is no file; raises RecipeError where it is damaged."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_bytes()) if path.stat().st_size <= _LARGEST else None
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise RecipeError(f"{path} is damaged: it must hold an object of at most {_LARGEST >> 20} MiB")
    return value


Part = TypeVar("Part", VisionConfig, AdapterConfig, LanguageConfig)


def _part(kind: type[Part], value: Any, what: str) -> Part:
    if not isinstance(value, dict):
        raise RecipeError(f"model.{what} must be a mapping")
    _names(value, f"model.{what}", [one.name for one in fields(kind)], ("eps", "context", "rope_base"))
    return kind(**value)


def _names(value: Mapping[str, Any], what: str, wanted: Sequence[str], spared: Sequence[str] = ()) -> None:
    missing = sorted({*wanted} - {*spared} - value.keys())
    unknown = sorted(value.keys() - {*wanted})
    if missing or unknown:
        raise RecipeError(f"{what}: unknown {unknown}, missing {missing}")


def bounded(part: Any, limits: Mapping[str, Bounds], what: str) -> None:
    """Raises RecipeError where a number of a config is none, or out of its bounds; `what` stands before its name."""
    kinds = {one.name: one.type for one in fields(part)}
    for name, (least, most) in limits.items():
        value = getattr(part, name)
        if not is_number(value, kinds[name], (least, most)):
            whole = "a whole number" if kinds[name] is int else "a number"
            text = (
                repr(value)
                if not isinstance(value, int) or value.bit_length() < 100
                else "one of many digits"
            )
            raise RecipeError(f"{what}{name} must be {whole} from {least:g} to {most:g}, not {text[:60]}")


def is_number(value: object, kind: object, bounds: Bounds) -> bool:
    """Whether a value is a number of a kind, int or float, within its bounds; no truth value and no text is."""
    fits = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return fits and bounds[0] <= value <= bounds[1]  # type: ignore[operator]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RecipeError(f"model: {message}")
