"""Keys of a recipe that stand for languages, as those of CLIP scorers and thresholds."""

from collections.abc import Iterable

from filters.written import admitted, base


def key_of(keys: Iterable[str], language: str) -> str | None:
    """The key that holds for captions of a language, None where none does.

    `zh-CN` and `zh-Hant` hold for `zh`. A key of the language's own stands above one that admits it among
    others: `no` holds for Nynorsk where there is no `nn`.
    """
    given = sorted(keys)
    own = next((key for key in given if base(key) == language), None)
    return own or next((key for key in given if language in admitted([key])), None)


def doubled(keys: Iterable[str]) -> tuple[str, str] | None:
    """Two keys that stand for one language, the first by name; None where there are none."""
    given = sorted(keys)
    for number, key in enumerate(given):
        for other in given[number + 1 :]:
            if base(key) == base(other):
                return key, other
    return None
