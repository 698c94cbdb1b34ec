"""Names of rows: always valid text, unique within a shard."""

from hashlib import blake2b


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


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
