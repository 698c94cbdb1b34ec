"""How a stage trains: the paper's choices as defaults, the preset's numbers over them, one's own over those."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal

from torch import nn

from model.config import LARGEST_SIDE, Bounds, bounded, is_number, preset_document
from model.loader import KNOWN_TASKS
from model.qwen_vl import PARTS, QwenVL
from schemas.errors import RecipeError
from schemas.markup import STAGE1, STAGE2, Style
from schemas.mixture import Portion, read
from schemas.strict import FieldError

STAGES: Final = ("1", "2", "3")
"""The paper's stages."""

FIRST: Final = ("primer", "language", "sight")
"""Stages before them, for a language model that starts from nothing: images as oracle features (model/oracle.py), few
tasks first and then all, and then to see what those show."""

ORDER: Final = (*FIRST, *STAGES)


LIMITS: Final[Mapping[str, Bounds]] = {
    "side": (1, LARGEST_SIDE),
    "length": (1, 1 << 22),
    "batch": (1, 1 << 24),
    "micro": (1, 1 << 20),
    "steps": (1, 10**9),
    "warmup": (0, 10**9),
    "rate": (1e-12, 100),
    "floor": (0, 100),
    "muon": (0, 100),
    "pool": (1, 1 << 24),
    "eps": (1e-15, 1),
    "weight_decay": (0, 100),
    "layer_decay": (0, 1),
    "clip": (0, 1e6),
}
"""What the numbers of a stage may be."""


@dataclass(frozen=True, slots=True)
class StageConfig:
    """One stage. `batch` counts sequences over all ranks, `micro` those of one forward pass.

    `side`: images' side in pixels; `length`: tokens of a sequence; `rate` and `floor`: highest and last
    learning rate; `muon`: the highest rate of the inner matrices where Muon moves them (0: AdamW does);
    `trains`: the parts that learn; `tasks`: those that are read; `mixture`: what an epoch draws of their strata.
    `pictures` are `shown`, `told` (oracle features stand for them), or `matched` (shown, to learn those features).
    """

    name: str
    side: int
    length: int
    batch: int
    micro: int
    steps: int
    warmup: int
    rate: float
    floor: float
    trains: tuple[str, ...]
    tasks: tuple[str, ...]
    mixture: Mapping[str, Portion] = field(default_factory=dict)
    style: Style = STAGE2
    muon: float = 0.0
    pictures: Literal["shown", "told", "matched"] = "shown"
    isolate: bool = True
    pack: bool = True
    share: bool = True
    pool: int = 1024
    too_long: Literal["drop", "refuse"] = "drop"
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.05
    layer_decay: float = 0.95
    clip: float = 1.0

    def __post_init__(self) -> None:
        bounded(self, LIMITS, f"stage {self.name}: ")
        if len(self.betas) != 2 or not all(is_number(beta, float, (0, 1)) for beta in self.betas):
            raise RecipeError(f"stage {self.name}: betas must be two numbers from 0 to 1")
        if self.pictures not in ("shown", "told", "matched"):
            raise RecipeError(
                f"stage {self.name}: pictures must be shown, told or matched, not {self.pictures!r}"
            )
        unknown = sorted(set(self.trains) - set(PARTS)) + sorted(set(self.tasks) - set(KNOWN_TASKS))
        if unknown or not self.trains or not self.tasks:
            raise RecipeError(f"stage {self.name}: trains and tasks hold {unknown or 'nothing'}")
        if not self.floor <= self.rate:
            raise RecipeError(f"stage {self.name}: floor must lie between 0 and rate")

        coarse = self.style.coarse
        if isinstance(coarse, bool) or not isinstance(coarse, int) or not 1 <= coarse <= 500:
            raise RecipeError(
                f"stage {self.name}: style's coarse must be a whole number from 1 to 500, not {coarse!r}"
            )

    @property
    def title(self) -> str:
        return title(self.name)


def title(name: str) -> str:
    return name if name in FIRST else f"stage{name}"


_PAPER: Final[dict[str, dict[str, Any]]] = {
    # few tasks first: where all begin at once, each begins late
    "primer": {"trains": ("language",), "tasks": ("vqa", "referring"), "pictures": "told"},
    # a language model that knows nothing cannot be spoken to by images
    "language": {"trains": ("language",), "tasks": KNOWN_TASKS, "pictures": "told"},
    "sight": {"trains": ("vision", "adapter"), "tasks": ("caption",), "pictures": "matched"},
    "1": {"trains": ("vision", "adapter"), "tasks": ("caption",), "style": STAGE1},
    "2": {"trains": PARTS, "tasks": tuple(task for task in KNOWN_TASKS if task != "chat")},
    "3": {"trains": ("adapter", "language"), "tasks": ("chat",)},
}


def stage_config(preset: str, name: str, overrides: Mapping[str, Any] | None = None) -> StageConfig:
    """Returns stage `name` of a preset, with `overrides` by field; raises RecipeError where a field is unknown."""
    if name not in _PAPER:
        raise RecipeError(f"there is no stage {name!r}; choose {', '.join(_PAPER)}")
    document = preset_document(preset)
    stages = document.get("stages")
    numbers = stages.get(name) if isinstance(stages, dict) else None
    if not isinstance(numbers, dict):
        raise RecipeError(f"preset {preset} has no stage {name}")
    values = {**_PAPER[name], **numbers, **(overrides or {})}
    known = {one.name for one in fields(StageConfig)} - {"name"}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise RecipeError(f"stage {name}: unknown {', '.join(unknown)}; there is {', '.join(sorted(known))}")
    sides = document["model"].get("sides")
    values.setdefault("side", sides[0] if isinstance(sides, list) and sides else None)
    for listed in ("trains", "tasks", "betas"):
        if listed in values:
            if not isinstance(values[listed], list | tuple):
                raise RecipeError(f"stage {name}: {listed} must be a list, not {values[listed]!r}")
            values[listed] = tuple(values[listed])
    if "style" in values:
        values["style"] = _style(name, values["style"])
    try:
        values["mixture"] = read(values.get("mixture", {}))
    except FieldError as error:
        raise RecipeError(f"stage {name}: mixture: {error}") from error
    return StageConfig(name=name, **values)


def _style(name: str, given: Any) -> Style:
    """Returns the style that a preset spells, over stage 2's; raises RecipeError with what is none."""
    if isinstance(given, Style):
        return given
    if not isinstance(given, Mapping):
        raise RecipeError(f"stage {name}: style must hold names and values, not {given!r}")
    wordings = {one.name for one in fields(Style)}
    unknown = sorted(str(one) for one in given if one not in wordings)
    if unknown:
        raise RecipeError(
            f"stage {name}: style has no {', '.join(unknown)}; there is {', '.join(sorted(wordings))}"
        )
    for wording, value in given.items():
        if wording != "coarse" and not isinstance(value, str):
            raise RecipeError(f"stage {name}: style's {wording} must be words, not {value!r}")
    made = replace(STAGE2, **given)
    if made.form not in ("auto", "document", "chat"):
        raise RecipeError(f"stage {name}: style's form must be auto, document or chat, not {made.form!r}")
    for task in ("caption", "grounding"):
        try:
            made.cue(task, "en")
        except (KeyError, IndexError, AttributeError, ValueError) as error:
            raise RecipeError(
                f"stage {name}: style's {task} may name {{language}} and no other field: {getattr(made, task)!r}"
            ) from error
    return made


def set_trained(model: QwenVL, trains: tuple[str, ...]) -> list[nn.Parameter]:
    """Lets the named parts learn and no other; returns the parameters that do."""
    for part in PARTS:
        getattr(model, part).requires_grad_(part in trains)
    return [one for one in model.parameters() if one.requires_grad]
