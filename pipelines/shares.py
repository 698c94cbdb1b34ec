"""Shares of rows, pages and clusters that depend on a name alone, so that every engine draws the same ones."""

import hashlib


def is_drawn(share: float, seed: int, *name: str) -> bool:
    """Returns whether the thing of that name is in a share of its kind; a smaller share is a subset of a larger."""
    text = ":".join((str(seed), *name))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return is_below(share, int.from_bytes(digest, "little"))


def is_below(share: float, number: int) -> bool:
    """Returns whether a number of 64 bits lies in the first `share` of them."""
    return number < share * 2**64
