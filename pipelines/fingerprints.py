"""What a task's result depends on, as one digest."""

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from typing import Any


def fingerprint(*parts: Any) -> str:
    """32 hex digits over JSON-able values: equal values, equal digits."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """The installed versions of the named distributions, by name."""
    return {name: _version(name) for name in sorted(set(libraries))}


@functools.cache
def _version(library: str) -> str:
    """Once a process: every task asks, and each answer is a file to find and to parse."""
    return importlib.metadata.version(library)
