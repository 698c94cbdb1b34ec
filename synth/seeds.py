"""Generators of random numbers, each seeded by what it is for, never by what came before it."""

import hashlib
import random


def generator(seed: int, purpose: str, index: int = 0) -> random.Random:
    """A generator that depends on (seed, purpose, index) alone.

    `random.Random` and not numpy's: its streams have not changed since Python 3.2, so the same
    arguments draw the same crawl on any machine.
    """
    digest = hashlib.blake2b(f"{seed}\x00{purpose}\x00{index}".encode(), digest_size=16).digest()
    return random.Random(int.from_bytes(digest, "big"))
