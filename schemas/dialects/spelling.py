r"""Text that spells a dialect's own marks, kept text: a backslash after the first character of each mark."""

import re


class Spelling:
    """Marks that begin with the character `first` and go on as the pattern `rest` says."""

    def __init__(self, first: str, rest: str) -> None:
        self._first = first
        self._spelled = re.compile(rf"{re.escape(first)}(?=\\*(?:{rest}))")
        self._escaped = re.compile(rf"{re.escape(first)}\\(?=\\*(?:{rest}))")

    def escape(self, text: str) -> str:
        """`text` without a mark: each that it spells has one more backslash after its first character."""
        return self._spelled.sub(lambda _: self._first + "\\", text)

    def unescape(self, text: str) -> str:
        """What `escape` was given."""
        return self._escaped.sub(lambda _: self._first, text)
