"""Reading a BPE vocabulary in tiktoken's format: one token a line, base64 and rank."""

import base64
import binascii
from pathlib import Path
from typing import Final

from schemas.errors import RecipeError

_LIMIT: Final = 64 << 20


def read_ranks(path: Path) -> dict[bytes, int]:
    """Each token's bytes and rank, ranks being 0 .. n - 1; RecipeError names the line that is wrong."""
    if path.stat().st_size > _LIMIT:
        raise RecipeError(f"{path} is too large for a vocabulary")
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise RecipeError(f"{path}, line {number}: not `base64 rank`") from error
    whole = sorted(ranks.values()) == list(range(len(ranks)))
    if not ranks or not whole or not all(bytes([byte]) in ranks for byte in range(256)):
        raise RecipeError(f"{path} is no byte-level vocabulary: ranks must be 0 .. n - 1 and hold every byte")
    return ranks


def merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every pair of tokens that together are a token, by that token's rank.

    tiktoken joins the neighbours whose union ranks lowest, whatever pair they are; so all pairs are merges.
    """
    found = []
    for token, rank in ranks.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ranks and right in ranks:
                found.append((rank, ranks[left], left, right))
    found.sort(key=lambda one: one[:2])
    return [(left, right) for _, _, left, right in found]
