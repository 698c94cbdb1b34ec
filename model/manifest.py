"""What a corpus's manifest says to whoever trains on it: its mixture."""

import json
from typing import Final

from model.store import Store
from schemas.errors import InputError
from schemas.mixture import Portion, read
from schemas.strict import FieldError

_NAME: Final = "manifest.json"
_MOST: Final = 1 << 30


def mixture(store: Store) -> dict[str, Portion]:
    """Returns the mixture of the corpus at the store's root; none where the root is a folder without a manifest.

    Raises InputError where the manifest is damaged.
    """
    data = store.small(_NAME, _MOST)
    if data is None:
        return {}
    try:
        return read(json.loads(data)["mixture"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"mixture: {error}" if isinstance(error, FieldError) else "it holds no mixture"
        raise InputError(
            f"{store.root}/{_NAME} is damaged or of another version ({what}): build the corpus again"
        ) from error
