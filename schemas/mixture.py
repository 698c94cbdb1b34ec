"""The mixture: how often an epoch draws the views of each stratum, which is one task of one source.

A mixture maps patterns of strata (`caption/web`, `ocr/*`) to portions. Of the patterns that match a stratum the most
specific one holds, whatever their order; what no pattern matches is left out.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Final

from schemas.errors import nearest
from schemas.strict import FieldError, require

MOST: Final = {"weight": 1_000_000, "epochs": 1_000, "max_samples": 1_000_000_000_000}
"""The largest value of each key of a portion."""

LEAST_EPOCHS: Final = 0.001
"""So few of its views a stratum draws in an epoch at least, unless it draws none."""

_PATTERNS: Final = 1_000
_PATTERN: Final = re.compile(r"[^/\s]{1,100}/[^/\s]{1,100}")
_SHOWN: Final = 100
_LISTED: Final = 30
_SET: Final = re.compile(r"\[!?\]?[^]]*\]")


@dataclass(frozen=True, slots=True)
class Portion:
    """How much of the strata that a pattern matches is drawn.

    `weight`: the pattern's share of all draws, relative to other weights; its strata divide it by their views.
    `epochs`: how often each view of each stratum is drawn in an epoch. `max_samples`: a stratum of more views takes
    part with this many of them, always the same ones.
    """

    weight: float | None = None
    epochs: float | None = None
    max_samples: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None:
                _require_number(name, value)
                object.__setattr__(self, name, int(value) if name == "max_samples" else float(value))
        if (self.weight is None) == (self.epochs is None):
            raise FieldError("give weight or epochs, one of them")
        if self.epochs is not None and 0 < self.epochs < LEAST_EPOCHS:
            raise FieldError(f"epochs must be 0 or at least {LEAST_EPOCHS}, not {self.epochs!r}")

    @property
    def is_nothing(self) -> bool:
        """Returns whether the portion leaves out what its pattern matches."""
        return not (self.weight or self.epochs)

    def to_json(self) -> dict[str, float]:
        """Returns the keys that the portion has."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _require_number(name: str, value: object) -> None:
    whole = name == "max_samples"
    kind = "a whole number" if whole else "a number"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        # YAML takes 1e-3 for text
        raise FieldError(f"{name} must be {kind} such as {'10000' if whole else '0.5'}, not {value!r:.60}")
    least = 1 if whole else 0
    require(
        least <= value <= MOST[name],
        f"{name} must be {kind} from {least} to {MOST[name]:,}, not {value!r:.60}",
    )


def portion(value: object) -> Portion:
    """Returns the portion that a recipe spells: a number is a weight. Raises FieldError."""
    if isinstance(value, Portion):
        return value
    if isinstance(value, Mapping):
        for name in value:
            if name not in MOST:
                raise FieldError(
                    f"unknown key {name}; {nearest(str(name), MOST)}allowed are {', '.join(MOST)}"
                )
        return Portion(**value)
    return Portion(weight=value)  # type: ignore[arg-type]  # checked there


def pattern(text: object) -> str:
    """Returns a pattern of strata, TASK/SOURCE; raises FieldError where it is none."""
    if not isinstance(text, str) or not _PATTERN.fullmatch(text):
        shown = text if isinstance(text, str) else str(text)
        raise FieldError(
            f"strata are named by TASK/SOURCE, such as caption/web or ocr/*, not {shown[:_SHOWN]!r}"
        )
    return text


def read(value: object) -> dict[str, Portion]:
    """Returns the mixture that JSON or YAML spells; raises FieldError with the pattern where it is wrong."""
    if not isinstance(value, Mapping):
        raise FieldError("a mixture is a map of TASK/SOURCE to weights or epochs")
    found = {}
    for name in map(pattern, value):
        try:
            found[name] = portion(value[name])
        except FieldError as error:
            raise FieldError(f"{name}: {error}") from error
    require_sound(found)
    return found


def require_sound(mixture: Mapping[str, Portion]) -> None:
    """Raises FieldError where portions of a mixture do not go together."""
    require(len(mixture) <= _PATTERNS, f"a mixture has at most {_PATTERNS:,} patterns, not {len(mixture):,}")
    if not mixture:
        return
    by_weight = [name for name, one in mixture.items() if one.weight is not None]
    by_epochs = [name for name, one in mixture.items() if one.epochs is not None]
    if by_weight and by_epochs:
        raise FieldError(
            f"{by_weight[0]} has a weight and {by_epochs[0]} epochs: a mixture goes by weights or by epochs"
        )
    require(not all(one.is_nothing for one in mixture.values()), "every portion is 0, so nothing is drawn")


def matching(patterns: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Returns the pattern that holds for each stratum: of those that match its name the most specific.

    That one's task and source each fix at least as much as those of the others. Raises FieldError where there is none.
    """
    ordered = sorted(patterns, key=lambda one: (_fixed(one), one), reverse=True)
    found = {}
    for name in names:
        fitting = [one for one in ordered if _fits(one, name)]
        for other in fitting[1:]:
            pairs = zip(_fixed(fitting[0]), _fixed(other), strict=True)
            if _fixed(fitting[0]) == _fixed(other) or any(mine < theirs for mine, theirs in pairs):
                raise FieldError(
                    f"{fitting[0]} and {other} both match {name}, and neither is more specific: name {name} itself"
                )
        if fitting:
            found[name] = fitting[0]
    return found


def _fixed(text: str) -> list[tuple[bool, int]]:
    """Returns of task and source whether the pattern names it, and how many characters it fixes."""
    parts = [_SET.sub("?", part) for part in text.split("/")]
    return [(not set(part) & set("*?"), len(part.replace("*", ""))) for part in parts]


def _fits(text: str, name: str) -> bool:
    # part by part: * is no /
    return all(map(fnmatchcase, name.split("/"), text.split("/")))


@dataclass(frozen=True, slots=True)
class Share:
    """What an epoch takes of a stratum: `views` take part, and `drawn` are drawn, a view repeatedly if need be.

    An epoch draws a whole number of views; `drawn` is its exact mean over many epochs.
    """

    views: int
    drawn: Fraction


def shares(mixture: Mapping[str, Portion], views: Mapping[str, int]) -> dict[str, Share]:
    """Returns the share of each stratum that is drawn from, in the order of `views`, the views of all strata.

    Without a mixture every view is drawn once. By weights an epoch draws as many views as take part. Raises FieldError
    where a pattern matches no stratum, or nothing is drawn.
    """
    if not mixture:
        return {name: Share(count, Fraction(count)) for name, count in views.items()}
    found = matching(mixture, views)
    unmatched = [one for one in mixture if not any(_fits(one, name) for name in views)]
    if unmatched:
        raise FieldError(f"{_listed(unmatched)} matches nothing; there is {_listed(views)}")
    part = {
        name: min(views[name], mixture[one].max_samples or views[name])
        for name, one in found.items()
        if views[name] and not mixture[one].is_nothing
    }
    require(bool(part), f"nothing is drawn; there is {_listed(views)}")
    return {
        name: Share(count, drawn)
        for (name, count), drawn in zip(part.items(), _drawn(mixture, found, part), strict=True)
    }


def _listed(names: Collection[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(list(names)[:_LISTED]) + more or "no stratum"


def _drawn(
    mixture: Mapping[str, Portion], found: Mapping[str, str], part: Mapping[str, int]
) -> list[Fraction]:
    """Returns how many views an epoch draws of each stratum of `part`."""
    epochs = [mixture[found[name]].epochs for name in part]
    if None not in epochs:
        return [_exact(one) * count for one, count in zip(epochs, part.values(), strict=True)]
    together: Counter[str] = Counter()
    for name, count in part.items():
        together[found[name]] += count
    weights = [
        _exact(mixture[found[name]].weight) * count / together[found[name]] for name, count in part.items()
    ]
    times = sum(part.values()) / sum(weights, Fraction())
    return [times * one for one in weights]


def _exact(value: float | None) -> Fraction:
    """Returns a number as it is written: 0.1 is a tenth."""
    return Fraction(str(value))


def to_json(mixture: Mapping[str, Portion]) -> dict[str, dict[str, float]]:
    """Returns what `read` reads back."""
    return {name: one.to_json() for name, one in mixture.items()}
