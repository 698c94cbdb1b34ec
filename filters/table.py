"""The one list of filters, and what follows from it: the recipe's blocks, the columns of work/signals, the rules.

A new filter is a module like those below and a line in FILTERS; a new rule stands in its filter's module. A filter of
an installed package (entry point group `vlcorpus.filters`) stands behind ours in the recipes that name it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeVar

import pyarrow as pa
from pydantic import ValidationError, create_model
from pydantic_core import InitErrorDetails, PydanticCustomError

from filters import caption, emoji, extra, language, later, picture, scripts, text_area
from filters.filter import Filter, Rule
from schemas.errors import RecipeError
from schemas.plugins import FILTERS as GROUP
from schemas.plugins import Plugin, lookup, names
from schemas.row import AFTER_SIGNALS, BEFORE_SIGNALS
from schemas.settings import Settings, switch

FILTERS: Final = (
    caption.FILTER,
    emoji.FILTER,
    scripts.FILTER,
    language.FILTER,
    picture.FILTER,
    text_area.FILTER,
)
"""Every filter, in the order in which they measure and in which their columns stand."""

T = TypeVar("T", bound=Settings)


class Blocks(Settings):
    """Blocks of settings that follow from a table: code asks for each by its class."""

    def get(self, block: type[T]) -> T | None:
        """Returns the settings of that class; None where they are switched off."""
        return next((value for _, value in self if isinstance(value, block)), None)

    def __getitem__(self, block: type[T]) -> T:
        """Returns the settings of that class. Raises KeyError where they are switched off."""
        found = self.get(block)
        if found is None:
            raise KeyError(block.__name__)
        return found


class Signals(Blocks):
    """The recipe's `signals` block."""

    filters: ClassVar[tuple[Filter, ...]] = ()
    found: ClassVar[Mapping[str, Plugin]] = {}
    """Where those of installed packages come from, by name."""

    def running(self) -> list[tuple[Filter, Any]]:
        """Returns the filters that run, in order, with their settings."""
        blocks = [(one, getattr(self, one.name) if one.settings else None) for one in self.filters]
        return [(one, block) for one, block in blocks if block is not False]

    @property
    def schema(self) -> pa.Schema:
        """The columns of work/signals."""
        return schema_of(self.filters)

    @property
    def places(self) -> dict[str, set[str]]:
        """Settings that say where files lie, by filter."""
        return {one.name: set(one.places) for one in self.filters if one.places}


class Rules(Blocks):
    """The recipe's `rules` block, in rule order."""

    table: ClassVar[tuple[Rule, ...]] = ()


def schema_of(filters: Iterable[Filter]) -> pa.Schema:
    """Returns the schema of work/signals: one row for each input row; `error` null means that all was measured."""
    return pa.schema(
        [*BEFORE_SIGNALS, *(item for one in filters for item in one.columns.items()), *AFTER_SIGNALS]
    )


def in_rule_order(filters: Sequence[Filter]) -> tuple[Rule, ...]:
    """Returns the rules of filters in the order in which a row gets its reason, then those that look beyond a row.

    Those of installed packages stand behind ours, unless they name the rule that they follow. Raises RecipeError where
    there is no such rule.
    """
    ours = [rule for one in filters if one in FILTERS for rule in one.rules]
    others = [rule for one in filters if one not in FILTERS for rule in one.rules]
    every = [*ours, extra.RULE, *others, *later.RULES]
    found = [rule for rule in every if rule.after is None]
    for rule in every:
        if rule.after is not None:
            place = next((place for place, one in enumerate(found) if one.name == rule.after), None)
            if place is None:
                raise RecipeError(f"the rule {rule.name} is to stand after {rule.after}, which is no rule")
            found.insert(place + 1, rule)
    return tuple(found)


@cache
def signals_model(filters: tuple[Filter, ...]) -> type[Signals]:
    """Returns the class of the block `signals` for these filters."""
    fields: dict[str, Any] = {}
    for one in filters:
        if one.settings is not None:
            fields[one.name] = _field(one.settings, on=not one.optional, always=not one.optional)
    model = create_model("SignalSettings", __base__=Signals, __doc__=Signals.__doc__, **fields)
    model.filters = filters
    return model


@cache
def rules_model(filters: tuple[Filter, ...]) -> type[Rules]:
    """Returns the class of the block `rules` for the rules of these filters."""
    table = in_rule_order(filters)
    fields = {rule.name: _field(rule.settings, rule.on, rule.always) for rule in table}
    model = create_model("RuleSettings", __base__=Rules, __doc__=Rules.__doc__, **fields)
    model.table = table
    return model


def _field(block: type[Settings], on: bool, always: bool) -> Any:
    kind = block if always else Annotated[block | Literal[False], switch(block)]
    return kind, block() if on else False


SIGNALS: Final = schema_of(FILTERS)
"""work/signals of a recipe that names no filter of another package."""

if TYPE_CHECKING:  # the fields follow from the table, which no type checker can see
    SignalSettings = Signals
    RuleSettings = Rules
else:
    SignalSettings = signals_model(FILTERS)
    RuleSettings = rules_model(FILTERS)


def with_installed(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a recipe with its blocks `signals` and `rules` read, where it names filters of installed packages.

    Their settings are checked by their own classes. A recipe that names none comes back as it is, and nothing is
    imported. Raises ValidationError at the recipe's key for a filter that cannot be used.
    """
    named = recipe.get("signals")
    found: dict[str, tuple[Filter, Plugin]] = {}
    for name in named if isinstance(named, Mapping) else ():
        with _at("signals", name):
            if name in _OWN or name in names(GROUP):
                one, plugin = lookup(GROUP, name, _OWN, Filter)
                if plugin is not None:
                    found[name] = _checked(name, one, plugin, [one for one, _ in found.values()]), plugin
    if not found:
        return recipe
    filters = (*FILTERS, *(one for one, _ in found.values()))
    signals = signals_model(filters)
    signals.found = {name: plugin for name, (_, plugin) in found.items()}
    with _at("rules"):
        rules = rules_model(filters)
    read: dict[str, Any] = {
        "signals": _read(signals, named, "signals"),
        "rules": _read(rules, recipe.get("rules", {}), "rules"),
    }
    sources = recipe.get("sources")
    if isinstance(sources, Sequence):
        read["sources"] = [
            {**one, "rules": _read(rules, one["rules"], "sources", number, "rules")}
            if isinstance(one, Mapping) and "rules" in one
            else one
            for number, one in enumerate(sources)
        ]
    return {**recipe, **read}


_OWN: Final = {one.name: one for one in FILTERS}


def _checked(name: str, one: Filter, plugin: Plugin, others: Sequence[Filter]) -> Filter:
    """Returns the filter, with a block that may be off. Raises RecipeError for a name that is taken."""
    who = f"the filter {name!r} of the package {plugin.package} {plugin.version}"
    if one.name != name:
        raise RecipeError(f"{who} calls itself {one.name!r}: its entry point must bear the same name")
    for kind, own, taken in (
        ("column", one.columns.keys() | one.passes.keys(), _columns_of(others)),
        (
            "rule",
            {rule.name for rule in one.rules},
            {rule.name for rule in in_rule_order((*FILTERS, *others))},
        ),
    ):
        for twice in sorted(own & taken):
            raise RecipeError(f"{who} has a {kind} {twice!r}, and so has another filter of this recipe")
    return _optional(one)


@cache
def _optional(one: Filter) -> Filter:
    return replace(one, settings=one.settings or Settings, optional=True)


def _columns_of(others: Sequence[Filter]) -> set[str]:
    every = (*FILTERS, *others)
    return {*schema_of(every).names, *(name for one in every for name in one.passes)}


def _read(block: type[T], value: Any, *where: str | int) -> T:
    with _at(*where):
        return value if isinstance(value, block) else block.model_validate(value)


@contextmanager
def _at(*where: str | int) -> Iterator[None]:
    """A block whose errors are the recipe's at the key `where`."""
    try:
        yield
    except RecipeError as error:
        lines = [InitErrorDetails(type=_told("filter", str(error)), loc=where, input=None)]
    except ValidationError as error:
        lines = [
            InitErrorDetails(
                type=_told(one["type"], one["msg"]), loc=(*where, *one["loc"]), input=one["input"]
            )
            for one in error.errors(include_url=False)
        ]
    else:
        return
    raise ValidationError.from_exception_data("Recipe", lines)


def _told(kind: str, text: str) -> PydanticCustomError:
    # the text is a value of the template: it may hold braces
    return PydanticCustomError(kind, "{text}", {"text": text})
