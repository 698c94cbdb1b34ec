"""The one list of filters, and what follows from it: the recipe's blocks, the columns of work/signals, the rules.

A new filter is a module like those below and a line in FILTERS; a new rule stands in its filter's module. A filter of
an installed package (entry point group `vlcorpus.filters`) stands behind ours in the recipes that name it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeVar, get_args

import pyarrow as pa
from pydantic import ValidationError, create_model
from pydantic_core import InitErrorDetails, PydanticCustomError

from filters import caption, corpus_rules, emoji, extra, language, picture, scripts, sketch, text_area
from filters.filter import Filter, Rule
from schemas.errors import RecipeError, nearest
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
    sketch.FILTER,
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
    """Returns the schema of work/signals: one row for each input row; `error` null means that all was measured.

    Its metadata names each filter that has columns, with its version.
    """
    measured = [one for one in filters if one.columns]
    return pa.schema(
        [*BEFORE_SIGNALS, *(item for one in measured for item in one.columns.items()), *AFTER_SIGNALS],
        {one.name: str(one.version) for one in measured},
    )


def in_rule_order(filters: Sequence[Filter]) -> tuple[Rule, ...]:
    """Returns the rules of filters in the order in which a row gets its reason, then those that look beyond a row.

    Those of installed packages stand behind ours, unless they name the rule that they follow. Raises RecipeError where
    there is no such rule.
    """
    ours = [rule for one in filters if one in FILTERS for rule in one.rules]
    others = [rule for one in filters if one not in FILTERS for rule in one.rules]
    every = [*ours, extra.RULE, *others, *corpus_rules.RULES]
    found = [rule for rule in every if rule.after is None]
    for rule in every:
        if rule.after is not None:
            place = next((place for place, one in enumerate(found) if one.name == rule.after), None)
            if place is None:
                raise RecipeError(f"the rule {rule.name} is to stand after {rule.after}, which is no rule")
            found.insert(place + 1, rule)
    return tuple(found)


@cache
def signals_model(filters: tuple[Filter, ...], base: type[Signals] = Signals) -> type[Signals]:
    """Returns the class of the block `signals` for filters, on top of a class for some of them."""
    fields: dict[str, Any] = {}
    for one in filters:
        if one.settings is not None and one not in base.filters:
            fields[one.name] = _field(one.settings, on=not one.optional, always=not one.optional)
    model = create_model("SignalSettings", __base__=base, __doc__=Signals.__doc__, **fields)
    model.filters = filters
    return model


@cache
def rules_model(filters: tuple[Filter, ...], base: type[Rules] = Rules) -> type[Rules]:
    """Returns the class of the block `rules` for the rules of filters, on top of a class for some of them."""
    table = in_rule_order(filters)
    fields: dict[str, Any] = {
        rule.name: _field(rule.settings, rule.on, rule.always) for rule in table if rule not in base.table
    }
    model = create_model("RuleSettings", __base__=base, __doc__=Rules.__doc__, **fields)
    model.table = table
    return model


def _field(block: type[Settings], on: bool, always: bool) -> Any:
    kind = block if always else Annotated[block | Literal[False], switch(block)]
    return kind, block() if on else False


PAPER: Final = {rule.name: rule.paper for rule in in_rule_order(FILTERS) if rule.paper}
"""How Qwen-VL's paper has a rule, by its name; all others are ours."""

SIGNALS: Final = schema_of(FILTERS)
"""work/signals of a recipe that names no filter of another package."""

if TYPE_CHECKING:  # the fields follow from the table, which no type checker can see
    SignalSettings = Signals
    RuleSettings = Rules
else:
    SignalSettings = signals_model(FILTERS)
    RuleSettings = rules_model(FILTERS)


_OWN: Final = {one.name: one for one in FILTERS}


def with_installed(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a recipe with its blocks `signals` and `rules` read, where it names filters of installed packages.

    Their settings are checked by their own classes. A recipe that names none comes back as it is, and nothing is
    imported. Raises ValidationError at the recipe's key for a filter that cannot be used.
    """
    named = recipe.get("signals")
    filters: tuple[Filter, ...] = FILTERS
    found: dict[str, Plugin] = {}
    for name in named if isinstance(named, Mapping) else ():
        if name in _OWN or name in names(GROUP):
            with _at("signals", name):
                one, plugin = lookup(GROUP, name, _OWN, Filter)
                if plugin is not None:
                    filters = (*filters, _checked(one, plugin, filters))
                    found[name] = plugin
    if not found:
        return recipe
    signals = signals_model(filters, SignalSettings)
    signals.found = found
    rules = rules_model(filters, RuleSettings)
    read = {
        "signals": _read(signals, named, "signals"),
        "rules": _read(rules, recipe.get("rules", {}), "rules"),
    }
    return {**recipe, **read, **_sources(recipe, rules)}


def _sources(recipe: Mapping[str, Any], rules: type[Rules]) -> dict[str, Any]:
    """The recipe's sources with their rules read."""
    given = recipe.get("sources")
    if not isinstance(given, Sequence):
        return {}
    return {
        "sources": [
            {**source, "rules": _read(rules, source["rules"], "sources", number, "rules")}
            if isinstance(source, Mapping) and "rules" in source
            else source
            for number, source in enumerate(given)
        ]
    }


def _checked(one: Filter, plugin: Plugin, others: tuple[Filter, ...]) -> Filter:
    """Returns the filter, with a block that may be off. Raises RecipeError for a name that is taken."""
    who = f"the filter {plugin.name!r} of the package {plugin.package} {plugin.version}"
    if one.name != plugin.name:
        raise RecipeError(f"{who} calls itself {one.name!r}: its entry point must bear the same name")
    columns = {*schema_of(others).names, *(name for other in others for name in other.passes)}
    for twice in sorted((one.columns.keys() | one.passes.keys()) & columns):
        raise RecipeError(f"{who} has the column {twice!r}, which another filter has: leave one of them out")
    for twice in sorted({rule.name for rule in one.rules} & {rule.name for rule in in_rule_order(others)}):
        raise RecipeError(f"{who} has the rule {twice!r}, which there is already: leave the filter out")
    for rule in one.rules:
        for name in rule.reads:
            if name not in schema_of((*others, one)).names:
                near = nearest(name, schema_of((*others, one)).names)
                raise RecipeError(
                    f"{who}: its rule {rule.name} reads {name!r}, a column of no filter; {near}".rstrip("; ")
                )
    if one.columns and one.image is None and one.batch is None:
        raise RecipeError(f"{who} has columns, but neither image nor batch, which measure them")
    for block in (one.settings, *(rule.settings for rule in one.rules)):
        if block is not None and not issubclass(block, Settings):
            raise RecipeError(f"{who}: {block.__name__} must be a subclass of schemas.settings.Settings")
    in_rule_order((*others, one))
    return _optional(one)


@cache
def _optional(one: Filter) -> Filter:
    return replace(one, settings=one.settings or Settings, optional=True)


@contextmanager
def _at(*where: str | int) -> Iterator[None]:
    """A block whose RecipeError is the recipe's at the key `where`."""
    try:
        yield
    except RecipeError as error:
        raise ValidationError.from_exception_data(
            "Recipe", [_line("filter", str(error), where, None)]
        ) from error


def _read(block: type[T], value: Any, *where: str | int) -> T:
    """Returns the block that a value holds; what is wrong in it is the recipe's error at the key `where`."""
    try:
        return block.model_validate(value)
    except ValidationError as error:
        lines = [
            _line(*_told(block, one), (*where, *one["loc"]), one["input"])
            for one in error.errors(include_url=False)
        ]
        raise ValidationError.from_exception_data("Recipe", lines) from error


def _told(block: type[Settings], problem: Any) -> tuple[str, str]:
    """The type and the text of an error; an unknown key is told with those that there are."""
    if problem["type"] != "extra_forbidden" or len(problem["loc"]) > 2:
        return problem["type"], problem["msg"]
    *above, key = problem["loc"]
    for name in above:
        annotation: Any = block.model_fields[name].annotation
        block = next((one for one in get_args(annotation) if isinstance(one, type)), annotation)
    fields = list(block.model_fields)
    return "unknown_key", f"unknown key; {nearest(str(key), fields)}allowed are {', '.join(fields) or 'none'}"


def _line(kind: Any, text: str, where: tuple[str | int, ...], value: Any) -> InitErrorDetails:
    # the text is a value of the template: it may hold braces
    return InitErrorDetails(type=PydanticCustomError(kind, "{text}", {"text": text}), loc=where, input=value)
