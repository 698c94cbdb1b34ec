"""What a process does at the moment, for whoever has to say where a row ended it.

The decoder, a filter, a generator or a scorer is named before it runs. In a child process the name lies in memory that
the parent reads when the child is dead (pipelines/engines/child.py); elsewhere nobody listens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LISTENER: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def listen(listener: Callable[[str], None]) -> None:
    """Has `listener` called with what runs from now on in this thread, and with "" when it has ended."""
    _LISTENER.set(listener)


@contextmanager
def doing(what: str) -> Iterator[None]:
    """A block in which `what` runs."""
    listener = _LISTENER.get()
    if listener is None:
        yield
        return
    listener(what)
    try:
        yield
    finally:
        listener("")
