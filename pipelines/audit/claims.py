"""What a manifest says, held against what else tells of it: its digest, the card, the recipe, the samples."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pipelines.audit.shards import Kind
from pipelines.files import FileInfo, Store
from pipelines.phases.shard import OTHER_LICENCES
from pipelines.recipe.load import BESIDE
from schemas.errors import InputError
from schemas.manifest import CARD, RECIPE, SUM, Manifest, sealed, sum_file

Record = Mapping[str, Any]

_SMALL: Final = 16 << 20
"""A card, a recipe or a digest above this size is refused unread."""


def contradictions(
    store: Store, files: Mapping[str, FileInfo], data: bytes, manifest: Manifest
) -> Iterator[str]:
    """Yields one sentence for each thing that the manifest with the bytes `data` says and another file does not."""
    for name, check in _CHECKS.items():
        if name not in files:
            yield f"{name}: missing"
            continue
        try:
            text = store.read_bytes(files[name].path, _SMALL)
        except InputError as error:
            yield f"{name}: {error}"
            continue
        yield from (f"{name}: {problem}" for problem in check(text[:_SMALL], data, manifest))


def _digest(text: bytes, data: bytes, _: Manifest) -> Iterator[str]:
    if text != sum_file(data):
        yield f"the SHA-256 of manifest.json is {hashlib.sha256(data).hexdigest()}, which it does not say"


def _card(text: bytes, data: bytes, _: Manifest) -> Iterator[str]:
    if sealed(json.loads(data)).encode() not in text:
        yield "this card was written for another manifest: what manifest.json says was changed afterwards"


def _recipe(text: bytes, _: bytes, manifest: Manifest) -> Iterator[str]:
    found = hashlib.sha256(text).hexdigest()
    if found != manifest.recipe:
        yield f"its SHA-256 is {found}, but the manifest says that the recipe's is {manifest.recipe}"
        return
    try:
        yield from list(_otherwise(json.loads(text), json.loads(manifest.dump())))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        yield "it holds no recipe as vlcorpus writes it"


def _otherwise(recipe: Record, given: Record) -> Iterator[str]:
    """Yields one sentence for each thing that the manifest `given` says and its recipe does not."""
    for name in ("name", "seed"):
        yield from _differs(name, given[name], recipe[name])
    yield from _differs("plugins", given["plugins"], recipe.get("plugins", []))
    sources = {source["id"]: source for source in recipe["sources"]}
    yield from _differs("sources", [one["id"] for one in given["sources"]], list(sources))
    for one in given["sources"]:
        source = sources.get(one["id"], one)
        for name in ("origin", "licence", "role"):
            yield from _differs(f"{name} of source {one['id']}", one[name], source[name])
        yield from _thresholds(one["id"], given["thresholds"].get(one["id"], {}), source, recipe)


def _differs(what: str, given: object, wanted: object) -> Iterator[str]:
    if given != wanted:
        yield f"the manifest gives as {what} {_shown(given)}, the recipe {_shown(wanted)}"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:99] + "…"


def _thresholds(source_id: str, settings: Record, source: Record, recipe: Record) -> Iterator[str]:
    """Yields one sentence for each threshold that neither the source nor the recipe says."""
    what = f"source {source_id}"
    languages = recipe["languages"] if source.get("languages") is None else source["languages"]
    yield from _differs(f"languages of {what}", settings.get("languages", languages), languages)
    yield from _differs(
        f"captions of {what}", settings.get("captions", recipe["captions"]), recipe["captions"]
    )
    for rule in sorted(settings.keys() - BESIDE):
        said = [one["rules"][rule] for one in (source, recipe) if rule in one.get("rules", {})]
        for place, value in _leaves(settings[rule], (rule,)):
            # what `auto` came to, the recipe cannot know either
            auto = any(_at(one, place[1:-1]) == "auto" for one in said)
            if said and not auto and not any(_at(one, place[1:]) == value for one in said):
                name = f"{'.'.join(place)} of {what}"
                yield f"the manifest gives as {name} {_shown(value)}, which the recipe does not say"


def _leaves(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields each single setting of a rule that is on, with its place."""
    if isinstance(value, dict):
        for name, inner in value.items():
            # what the best share came to, which the recipe cannot know
            if name != "least_score":
                yield from _leaves(inner, (*place, name))
    elif len(place) > 1:
        yield place, value


def _at(value: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        value = value.get(name) if isinstance(value, dict) else None
    return value


_CHECKS: Final[Mapping[str, Callable[[bytes, bytes, Manifest], Iterator[str]]]] = {
    SUM: _digest,
    CARD: _card,
    RECIPE: _recipe,
}


def miscounted(manifest: Manifest, found: Counter[Kind]) -> Iterator[str]:
    """Yields one sentence for each language or licence of views that the manifest gives otherwise."""
    counted = Counter[tuple[str, str, str, str, str]]()
    licences: dict[str, Counter[str]] = {}
    for (split, group, task, source, language, licence), count in found.items():
        counted[split, group, task, source, language] += count
        licences.setdefault(source, Counter())[licence] += count
    given = Counter(
        {
            (one.split, one.group, one.task, one.source, language): count
            for one in manifest.views
            for language, count in one.languages.items()
        }
    )
    for kind in sorted(given.keys() | counted.keys(), key=str):
        if given[kind] != counted[kind]:
            split, group, task, source, language = kind
            yield (
                f"shards/{split}/{group}/{source}: {given[kind]:,} views of task {task} in {language} by the manifest, "
                f"{counted[kind]:,} by the shards"
            )
    for source in sorted(manifest.licences.keys() | licences.keys()):
        yield from _licensed(source, manifest.licences.get(source, {}), licences.get(source, Counter()))


def _licensed(source: str, given: Mapping[str, int], counted: Counter[str]) -> Iterator[str]:
    """Yields one sentence for each licence of a source's views that the manifest counts otherwise.

    Where it has counted rare ones together, the counts of named ones may lack some views, and have none too many.
    """
    together = OTHER_LICENCES in given
    for licence in sorted((given.keys() | counted.keys()) - {OTHER_LICENCES}):
        claimed, there = given.get(licence, 0), counted[licence]
        if claimed > there or (claimed < there and not together):
            yield f"source {source}: {claimed:,} views are under {licence} by the manifest, {there:,} by the shards"
