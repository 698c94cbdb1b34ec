"""In a few words, why a row failed a rule: what was measured, and the limit where it is known."""

import json
from typing import Any, Final

from filters.extra import parsed

SHOWN: Final = (
    "special_tag", "pattern", "caption_chars", "caption_words", "caption_han", "scripts", "emoji", "language",
    "language_score", "aspect_ratio", "width", "height", "grey_range", "grey_std", "orientation",
    "text_area", "text_repeats", "extra",
)  # fmt: skip
"""The signals that `why` may speak of."""


def why(rule: str, signals: dict[str, Any], settings: Any = None) -> str | None:
    """The text for one row; None where the rule's name says it all. `settings` are the rule's block."""
    limit = settings or None
    if rule.startswith("columns."):
        name = rule.removeprefix("columns.")
        value = parsed(signals["extra"]).get(name)
        return f"{name} {json.dumps(value, ensure_ascii=False)}"
    match rule:
        case "special_tag" | "pattern":
            return f"{rule} {signals[rule]}"
        case "caption_length":
            counts = (f"{signals['caption_' + unit]} {unit}" for unit in ("chars", "words", "han"))
            return ", ".join(counts)
        case "script":
            return ", ".join(f"{one['script']} {one['letters']}" for one in (signals["scripts"] or ())[:5])
        case "emoji":
            return f"{signals['emoji']} emoji" + (f" > {limit.max}" if limit else "")
        case "language":
            return f"{signals['language']} {signals['language_score'] or 0:.2f}"
        case "aspect_ratio":
            return f"aspect_ratio {signals['aspect_ratio']:.2f}" + (f" > {limit.max:g}" if limit else "")
        case "min_side":
            return f"{signals['width']} x {signals['height']}" + (f" < {limit.pixels}" if limit else "")
        case "blank":
            return f"grey_std {signals['grey_std']:.2f}, grey_range {signals['grey_range']}"
        case "orientation":
            return f"orientation {signals['orientation']}"
        case "text_area":
            share = f"text_area {signals['text_area']:.2f}" + (f" > {limit.max:g}" if limit else "")
            return f"{share}, with {signals['text_repeats']:.2f} of the caption"
        case _:
            return None
