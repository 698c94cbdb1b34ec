"""The names of a shard's rows, each once, and what became of every member of a tar."""

from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Final

from pipelines.files import shown


class Unique:
    """Gives every name once: a name that comes again gets `#2`, `#3`, … appended.

    Keeps 16 bytes of digest a name, so that long names in a hostile input cost no more than short ones.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._times: dict[bytes, int] = {}

    def name(self, wanted: str) -> str:
        """`wanted`, or `wanted#N` with the smallest N that is free from here on."""
        digest = _digest(wanted)
        if digest not in self._seen:
            self._seen.add(digest)
            return wanted
        times = self._times.get(digest, 1)
        while True:
            times += 1
            other = f"{wanted}#{times}"
            if _digest(other) not in self._seen:
                self._times[digest] = times
                self._seen.add(_digest(other))
                return other

    def forget(self, name: str) -> None:
        """Frees the memory of a name that was given and is not used."""
        self._seen.discard(_digest(name))


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


REASONS: Final = {
    "hidden": "hidden files",
    "no_row": "names that announce no image, caption or record",
    "other_image": "further images of a record",
    "cut": "the record in which a damaged tar ends",
}
"""Why no row uses a member."""

EXAMPLES: Final = 3
"""So many members are named for each reason."""
_LONGEST: Final = 200


@dataclass(slots=True)
class Unused:
    """Members that no row uses for one reason; `images` of them hold an image."""

    members: int = 0
    images: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Ledger:
    """The members of one tar: members = used + metadata + those of `unused`, by reason.

    `used` are read by `records` rows; `images` counts all members that hold an image. `last_dot`: names are split at
    their last dot, since the first would merge images.
    """

    members: int = 0
    records: int = 0
    used: int = 0
    metadata: int = 0
    images: int = 0
    last_dot: bool = False
    unused: dict[str, Unused] = field(default_factory=dict)

    def leave_out(self, reason: str, name: str, image: bool, count: int = 1) -> None:
        """Counts members, of which `name` is one, that no row uses."""
        entry = self.unused.setdefault(reason, Unused())
        entry.members += count
        entry.images += image
        self.images += image
        if len(entry.examples) < EXAMPLES:
            entry.examples.append(shown(name)[:_LONGEST])

    def to_json(self) -> dict[str, Any]:
        """Returns the counts as plain values."""
        return asdict(self)
