"""Recipes from files, mappings and inputs: their names checked against what filters know, their paths made absolute.

Also what applies to a source, as the manifest holds it and in one line for log and card.
"""

import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from filters.caption import REPEATED, CaptionLength, CaptionSettings, Pattern
from filters.clip.source import LOCAL
from filters.corpus_rules import Clip
from filters.extra import ColumnRules
from filters.language import LanguageSettings, doubled
from filters.rules import in_order
from filters.scripts import SCRIPTS, SCRIPTS_OF, Script, admitted, base
from filters.table import Rules, RuleSettings
from pipelines.files import absolute
from pipelines.recipe import mixture
from pipelines.recipe.model import Recipe, Source
from pipelines.recipe.parse import MAX_BYTES, from_record, parse
from pipelines.recipe.parse import storage_options as options_of
from pipelines.sources.table import KINDS
from schemas.clip import DEFAULT, ScorerSettings
from schemas.errors import RecipeError
from schemas.settings import Settings

Where = tuple[str | int, ...]
Block = TypeVar("Block", bound=Settings)


def unknown_names(recipe: Recipe) -> Iterator[tuple[Where, str]]:
    """Where a name is unknown, and what would be right; a name nobody knows would drop every row in silence.

    A recipe with a language model of its own may use that model's labels.
    """
    if recipe.signals[LanguageSettings].model is None:
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
    yield from mixture.problems(recipe)
    patterns = {**recipe.signals[CaptionSettings].patterns, REPEATED: ""}.keys()
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
    if whole := recipe.rules.get(Clip):
        others = [source for source in recipe.sources if source not in own]
        yield from _unused(recipe, others, where, "a threshold", whole.languages)
    for number, source in enumerate(recipe.sources):
        if source in own and (clip := source.rules.get(Clip)):
            place: Where = ("sources", number, *where)
            yield from _unused(recipe, [source], place, "a threshold", clip.languages)


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
    if KINDS[source.kind].drafts:
        return
    carried = source.columns.names("extra")
    rules = recipe.rules_of(source).get(ColumnRules)
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


def _rules(where: Where, rules: Rules, patterns: Iterable[str]) -> Iterator[tuple[Where, str]]:
    if clip := rules.get(Clip):
        yield from _languages((*where, "rules", "clip", "languages"), clip.languages)
    if length := rules.get(CaptionLength):
        yield from _names((*where, "rules", "caption_length"), length.min_letters, SCRIPTS)
    if script := rules.get(Script):
        yield from _names((*where, "rules", "script", "scripts"), script.scripts or (), SCRIPTS)
    if pattern := rules.get(Pattern):
        yield from _names((*where, "rules", "pattern", "allow"), pattern.allow, patterns)


def _names(where: Where, given: Iterable[str], known: Iterable[str]) -> Iterator[tuple[Where, str]]:
    names = list(known)
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 3, 0.5)
            yield (
                where,
                f"{name!r} is unknown; " + (f"near are {', '.join(near)}" if near else "see the docs"),
            )


Given = str | Path | Mapping[str, Any] | Recipe | Sequence[str | Path]
"""What stands for a recipe: a YAML file, a mapping, a recipe, or inputs that the default recipe reads."""


def load(given: Given, extra: dict[str, Any] | None = None, kind: str = "auto") -> Recipe:
    """Returns the recipe that `given` stands for; `extra` are top-level keys that stand above its own.

    `kind` is that of inputs. Raises RecipeError where the recipe is wrong.
    """
    if isinstance(given, Recipe):
        return from_record(given.to_json(), "the recipe", extra, unknown_names)
    if isinstance(given, Mapping):
        return from_record(_plain(given), "the recipe", extra, unknown_names)
    if not isinstance(given, str | Path | Sequence):
        raise RecipeError(
            f"a recipe is the path of a YAML file, a mapping, a Recipe, or inputs, not a {type(given).__name__}"
        )
    inputs = [os.fspath(one) for one in ([given] if isinstance(given, str | Path) else given)]
    if len(inputs) == 1 and inputs[0].endswith((".yaml", ".yml")):
        return from_file(inputs[0], extra)
    return for_inputs(inputs, kind, extra)


def _plain(record: Mapping[str, Any]) -> Any:
    """Returns the mapping as JSON has it: paths as text, tuples as lists."""
    try:
        return json.loads(json.dumps(dict(record), default=os.fspath))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"the recipe holds a value that JSON does not know: {error}") from error


def from_file(path: str, extra: dict[str, Any] | None = None) -> Recipe:
    """The recipe in a YAML file; `extra` are top-level keys that stand above the file's."""
    return parse(_text(path, "recipe"), path, extra, unknown_names)


def storage_options(path: str | None) -> dict[str, Any]:
    """Returns the storage options in a YAML or JSON file; none where no file is given. Raises RecipeError."""
    return {} if path is None else options_of(_text(path, "file of storage options"), path)


def _text(path: str, what: str) -> str:
    """The text of a small file; RecipeError where it cannot be read, is too large or is not UTF-8."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(
            f"cannot read the {what} {path}: {(error.strerror or 'no access').lower()}"
        ) from error
    if len(data) > MAX_BYTES:
        raise RecipeError(f"{path}: a {what} of more than {MAX_BYTES:,} bytes is not read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:  # its text may hold a part of the file
        raise RecipeError(f"{path}: a {what} is UTF-8 text, this is not") from None


def for_inputs(inputs: Sequence[str], kind: str, extra: dict[str, Any] | None = None) -> Recipe:
    """The default recipe over the inputs given on the command line, as one source called `input`."""
    source = {"id": "input", "path": list(inputs), "kind": kind}
    return from_file(str(default_path()), {**(extra or {}), "sources": [source]})


def for_lists(
    lists: Sequence[str], out: str, settings: dict[str, Any], options: dict[str, Any] | None = None
) -> Recipe:
    """Returns a recipe that downloads all images of some lists into the folder `out`: no rule applies.

    `options` are fsspec's, for lists and `out` alike.
    """
    source = {
        "id": "input",
        "path": list(lists),
        "kind": "urls",
        "captions": "none",
        "rules": {rule.name: False for rule in RuleSettings.table if rule.on and not rule.always},
        "fetch": {**settings, "raw": out},
        "storage_options": options or {},
    }
    recipe = {"sources": [source], "out": out, "storage_options": options or {}}
    return parse(json.dumps(recipe), "vlcorpus fetch", check=unknown_names)


def for_pages(extra: dict[str, Any], render: dict[str, Any], form: str = "ocr") -> Recipe:
    """A recipe of one source that makes pages of text, or scenes with words (`form` scene_text)."""
    source = {
        "id": "pages",
        "kind": "rendered",
        "format": form,
        "origin": "text with its places, drawn by vlcorpus synth ocr",
        "licence": "CC0-1.0",
        # so many pages as are asked for, of whatever shape
        "rules": {"aspect_ratio": False, "min_side": False, "blank": False},
        "render": {name: value for name, value in render.items() if value},
    }
    record = {"name": "ocr", "tasks": ["ocr"], "sources": [source], **extra}
    return parse(json.dumps(record), "vlcorpus synth ocr", check=unknown_names)


def rooted(recipe: Recipe) -> Recipe:
    """The recipe with the local paths of its input from the root: a worker may run in another folder."""

    def of(source: Source) -> Source:
        source = _rooted(source, "path", "files", "images")
        sets = tuple(_rooted(one, "path", "files") for one in source.annotations)
        source = source.model_copy(update={"annotations": sets}) if sets else source
        if source.fetch.model_fields_set:
            source = source.model_copy(
                update={"fetch": _rooted(source.fetch, "raw", "earlier", "ca", "opt_out")}
            )
        return source.model_copy(update={"render": source.render.rooted()} if source.render else {})

    recipe = _rooted(recipe, "tokenizer")
    changes: dict[str, Any] = {"sources": tuple(of(source) for source in recipe.sources)}
    if recipe.clip is not None:
        scorers = {code: _rooted_scorer(one) for code, one in recipe.clip.scorers.items()}
        changes["clip"] = recipe.clip.model_copy(update={"scorers": scorers})
    return recipe.model_copy(update=changes)


def _rooted(block: Block, *names: str) -> Block:
    """The block with what is given at these keys, one path or several, from the root."""
    changes: dict[str, Any] = {}
    for name in names:
        match getattr(block, name):
            case str(path):
                changes[name] = absolute(path)
            case (_, *_) as paths:
                changes[name] = tuple(absolute(path) for path in paths)
            case dict(paths) if paths:
                changes[name] = {part: absolute(path) for part, path in paths.items()}
    return block.model_copy(update=changes)


def _rooted_scorer(scorer: ScorerSettings) -> ScorerSettings:
    folder = scorer.model.removeprefix(LOCAL)
    if folder != scorer.model:
        return scorer.model_copy(update={"model": f"{LOCAL}{absolute(folder)}"})
    if scorer.pretrained is not None and Path(scorer.pretrained).is_file():
        return _rooted(scorer, "pretrained")
    return scorer


def default_path() -> Path:
    """recipes/default.yaml: inside the package where it is installed, beside it in a checkout."""
    here = Path(__file__).parent.parent
    installed = here / "recipes" / "default.yaml"
    return installed if installed.exists() else here.parent / "recipes" / "default.yaml"


BESIDE: Final = frozenset(("languages", "captions", "eval"))
"""What `thresholds` holds beside rules."""


def thresholds(recipe: Recipe, source: Source, cuts: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Returns the source's rules, False where one is off, its languages, and the distance of evaluation images.

    `cuts` holds for each language whose best share is kept the score at which that was reached.
    """
    rules = recipe.rules_of(source).model_dump(mode="json")
    if not source.needs_captions:
        rules["no_caption"] = False
    for language, score in (cuts or {}).items():
        limit = rules["clip"]["languages"][language] if language else rules["clip"]
        limit["least_score"] = score
    languages = list(recipe.languages_of(source))
    settings = {**rules, "languages": languages, "captions": recipe.captions}
    if any(recipe.evaluation.values()):
        settings["eval"] = {"distance": recipe.eval_distance}
    return settings


def applied_text(settings: Mapping[str, Any]) -> str:
    """Returns what applies to a source, by name: its rules, the languages they keep, evaluation protection."""
    languages = settings.get("languages") or []
    rules = in_order(name for name in settings.keys() - BESIDE if settings[name] is not False)
    if not languages:
        # without languages these two have nothing to hold a caption against
        scripts = (settings.get("script") or {}).get("scripts")
        rules = [name for name in rules if name != "language" and (name != "script" or scripts)]
    text = f"rules that apply: {', '.join(rules)}"
    if "language" in rules:
        text += f"; languages: {', '.join(languages)}"
    return text + ("; evaluation images are protected" if "eval" in settings else "")
