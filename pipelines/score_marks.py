"""What CLIP scores depend on, as digests: of one row, and of a shard with its counts."""

import functools
from pathlib import Path
from typing import Any

from filters.clip.source import files_of, libraries_of, source_of
from filters.text_area import TextArea
from pipelines.files import Store
from pipelines.fingerprints import fingerprint, versions
from pipelines.picture_text import reader_marks
from schemas.clip import ScorerSettings
from schemas.recipe import Recipe, Source


def check_scorers(recipe: Recipe) -> None:
    """ModelError where a scorer that will be asked is not there, told before anything is measured."""
    if recipe.clip is not None and any(source.clip_score is None for source in recipe.sources):
        for settings in recipe.clip.scorers.values():
            source_of(settings)


def scorer_libraries(recipe: Recipe) -> list[str]:
    """Returns the distributions that compute the scores of the recipe's scorers, none where scores are given."""
    if recipe.clip is None or all(source.clip_score is not None for source in recipe.sources):
        return []
    return [library for settings in recipe.clip.scorers.values() for library in libraries_of(settings)]


def score_fingerprint(recipe: Recipe, source: Source, signals: str) -> str:
    """What the scores of one shard, and the counts in its receipt, depend on."""
    rules = recipe.rules_of(source).model_dump(mode="json")
    for later in ("repeat", "exact", "pixels", "phash"):
        rules.pop(later)
    settings = [rules, recipe.languages_of(source), source.captions, validity(recipe, source, signals)]
    return fingerprint("score", 2, settings)


def validity(recipe: Recipe, source: Source, signals: str) -> str:
    """What a single row's score depends on: while it is the same, scores of earlier runs hold."""
    if source.clip_score is not None:
        return fingerprint("given", source.clip_score, signals)
    if recipe.clip is None:
        return fingerprint("scored", None, signals)
    scorers = {code: _scorer(settings) for code, settings in recipe.clip.scorers.items()}
    return fingerprint("scored", scorers, recipe.clip.embeddings, *_masked(recipe), signals)


def _masked(recipe: Recipe) -> list[Any]:
    """How text is found that scores leave out; nothing where they see it all."""
    if recipe.clip is None or not recipe.clip.mask_text or not recipe.signals.text:
        return []
    text = recipe.signals.text
    return [TextArea.VERSION, versions(TextArea.LIBRARIES), *reader_marks(text.reader, text.models)]


def _scorer(settings: ScorerSettings) -> list[Any]:
    """The settings that move scores, and the weights by what they hold rather than by where they lie."""
    files = files_of(settings)
    own = settings.model_dump(
        mode="json", exclude={"threads"} | ({"model", "pretrained"} if files else set())
    )
    named = settings.model if settings.pretrained and files else ""
    held = [f"{Path(file).name} {_identity(str(file), *_stamp(file))}" for file in files]
    return [own, named, held, versions(libraries_of(settings))]


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=64)
def _identity(path: str, size: int, changed: int) -> str:
    """Once a file and process, unless it changes: every shard asks."""
    return Store().identity(path)
