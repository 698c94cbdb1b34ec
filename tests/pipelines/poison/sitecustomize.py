"""A decoder that misbehaves at marked pictures. Python runs this file at its start where it finds it.

It only waits for filters.picture to be imported, and so is harmless to any other process.
"""

import importlib.abc
import importlib.machinery
import sys
from typing import Any

MARKS = {b"POISON-ABORT": "abort", b"POISON-SPIN": "spin", b"POISON-EAT": "eat"}


def misbehave(deed: str) -> None:
    import collections
    import itertools
    import os

    if deed == "abort":
        os.abort()
    if deed == "spin":
        collections.deque(itertools.repeat(0), maxlen=0)
    held = []
    while True:
        # zeros that the kernel need not lay out: on a loaded machine too the limit of memory comes before the deadline
        held.append(bytes(64 * 1024 * 1024))


def poison(module: Any) -> None:
    sound = module.Pictures.open

    def opened(self: Any, data: bytes | None) -> Any:
        for mark, deed in MARKS.items():
            if data and mark in data:
                misbehave(deed)
        return sound(self, data)

    module.Pictures.open = opened


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != "filters.picture":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                poison(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Finder())
