"""The settings that apply to a source, as the manifest holds them, and in one line for log and card."""

from collections.abc import Mapping
from typing import Any

from schemas.recipe import Recipe, Source
from schemas.rules import RuleSettings


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
    rules = [name for name in RuleSettings.model_fields if settings.get(name, False) is not False]
    if not languages:
        # without languages these two have nothing to hold a caption against
        scripts = (settings.get("script") or {}).get("scripts")
        rules = [name for name in rules if name != "language" and (name != "script" or scripts)]
    text = f"rules that apply: {', '.join(rules)}"
    if "language" in rules:
        text += f"; languages: {', '.join(languages)}"
    return text + ("; evaluation images are protected" if "eval" in settings else "")
