"""Names in a recipe that only the filters can tell from misspelt ones: languages, scripts, patterns."""

import difflib
from collections.abc import Iterable, Iterator

from filters.caption import REPEATED
from filters.language_keys import doubled
from filters.scripts import SCRIPTS
from filters.written import SCRIPTS_OF, admitted, base
from schemas.clip import DEFAULT
from schemas.recipe import Recipe, Source
from schemas.rules import RuleSettings

Where = tuple[str | int, ...]


def unknown_names(recipe: Recipe) -> Iterator[tuple[Where, str]]:
    """Where a name is unknown, and what would be right; a name nobody knows would drop every row in silence.

    A recipe with a language model of its own may use that model's labels.
    """
    if recipe.signals.language.model is None:
        yield from _languages(("languages",), recipe.languages)
        for number, source in enumerate(recipe.sources):
            yield from _languages(("sources", number, "languages"), source.languages or ())
    if recipe.clip is not None:
        yield from _languages(("clip", "scorers"), recipe.clip.scorers.keys() - {DEFAULT})
        keys = recipe.clip.scorers.keys() - {DEFAULT}
        yield from _unused(recipe, recipe.sources, ("clip", "scorers"), "a scorer", keys)
    yield from _thresholds(recipe)
    for number, source in enumerate(recipe.sources):
        yield from _columns(recipe, number, source)
    yield from _embedded(recipe)
    patterns = {**recipe.signals.caption.patterns, REPEATED: ""}.keys()
    yield from _rules((), recipe.rules, patterns)
    for number, source in enumerate(recipe.sources):
        yield from _rules(("sources", number), source.rules, patterns)


def _languages(where: Where, codes: Iterable[str]) -> Iterator[tuple[Where, str]]:
    for code in sorted(codes):
        if base(code) not in SCRIPTS_OF:
            yield where, f"{code!r} is no language that is known; use ISO 639-1 codes such as en or zh"


def _unused(
    recipe: Recipe, sources: Iterable[Source], where: Where, what: str, codes: Iterable[str]
) -> Iterator[tuple[Where, str]]:
    """A key that can match nothing is a mistake: every source drops its language, or another key takes it."""
    if (pair := doubled(codes)) is not None:
        yield (
            (*where, pair[1]),
            f"{pair[0]!r} and {pair[1]!r} are one language here ({base(pair[0])}): give one",
        )
    kept = [recipe.languages_of(source) for source in sources]
    if not all(kept):  # a source keeps every language
        return
    known = {*admitted(code for languages in kept for code in languages)}
    for code in sorted(codes):
        if base(code) in SCRIPTS_OF and not {*admitted([code])} & known:
            shown = ", ".join(sorted({base(code) for languages in kept for code in languages}))
            yield (*where, code), f"{what} for {code!r}, but no source keeps that language ({shown} are kept)"


def _thresholds(recipe: Recipe) -> Iterator[tuple[Where, str]]:
    """Thresholds of languages that the sources they hold for never keep."""
    own = [source for source in recipe.sources if "clip" in source.rules.model_fields_set]
    where: Where = ("rules", "clip", "languages")
    if recipe.rules.clip:
        others = [source for source in recipe.sources if source not in own]
        yield from _unused(recipe, others, where, "a threshold", recipe.rules.clip.languages)
    for number, source in enumerate(recipe.sources):
        if source in own and source.rules.clip:
            place: Where = ("sources", number, *where)
            yield from _unused(recipe, [source], place, "a threshold", source.rules.clip.languages)


def _embedded(recipe: Recipe) -> Iterator[tuple[Where, str]]:
    """The embedded scorer is for the demo: on a real crawl it would drop pairs by chance."""
    if recipe.clip is None or recipe.clip.allow_embedded or not recipe.embedded_scorers:
        return
    yield (
        ("clip",),
        "the embedded scorer knows the drawn scenes of the demo alone, and on other images its scores mean nothing; "
        "name a CLIP (scorers: {default: {model: …, pretrained: …}}), or say allow_embedded: true",
    )


def _columns(recipe: Recipe, number: int, source: Source) -> Iterator[tuple[Where, str]]:
    """A column that a source does not carry would be null in every row, and known only once all is measured."""
    if source.kind in ("annotations", "rendered"):
        return
    carried = source.columns.names("extra")
    rules = recipe.rules_of(source).columns
    wanted: dict[str, Where] = {name: ("rules", "columns", name) for name in (rules.limits if rules else {})}
    if source.clip_score is not None:
        wanted[source.clip_score] = ("clip_score",)
    for name, where in wanted.items():
        if name not in carried:
            yield (
                ("sources", number, *where),
                f"source {source.id!r} does not carry the column {name!r} (it carries {', '.join(carried) or 'none'}); "
                f"add it: columns: {{extra: [{', '.join([*carried, name])}]}}",
            )


def _rules(where: Where, rules: RuleSettings, patterns: Iterable[str]) -> Iterator[tuple[Where, str]]:
    if rules.clip:
        yield from _languages((*where, "rules", "clip", "languages"), rules.clip.languages)
    if rules.script:
        yield from _names((*where, "rules", "script", "scripts"), rules.script.scripts or (), SCRIPTS)
    if rules.pattern:
        yield from _names((*where, "rules", "pattern", "allow"), rules.pattern.allow, patterns)


def _names(where: Where, given: Iterable[str], known: Iterable[str]) -> Iterator[tuple[Where, str]]:
    names = list(known)
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 3, 0.5)
            yield (
                where,
                f"{name!r} is unknown; " + (f"near are {', '.join(near)}" if near else "see the docs"),
            )
