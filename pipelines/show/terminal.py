"""The terminal as rich draws it: tables, bars and lines, with nothing in them that the data may have put there."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from schemas.plain import mended_lines, plain


class Terminal(Console):
    """A console that takes no text for markup, and writes the text of data as `plain` gives it."""

    def __init__(self, **given: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **given)

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints objects; those that are text as one line each."""
        super().print(*(plain(one) if isinstance(one, str) else one for one in objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yields what is drawn; what rich itself tells the terminal passes as it is."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(mended_lines(segment.text), segment.style)
