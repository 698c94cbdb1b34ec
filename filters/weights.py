"""Weights of models: their digests, whether a hub answers, and what went wrong with them in one line."""

import hashlib
import socket
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.request import getproxies

HOST: Final = "huggingface.co"
LOADING: Final = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)
"""What libraries let through when a configuration or a checkpoint is not what they expect."""

_SECONDS: Final = 3.0


def is_out_of_reach(host: str) -> bool:
    """Returns whether a hub does not answer within seconds: then only its local cache is to be asked."""
    if getproxies():
        return False
    try:
        socket.create_connection((host, 443), timeout=_SECONDS).close()
    except OSError:
        return True
    return False


def line(error: BaseException, skip: int = 0) -> str:
    """Returns the first line of an error that says something, cut short."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    return (lines[min(skip, len(lines) - 1)] if lines else type(error).__name__)[:200]


def weights_digest(model: Any, *more: bytes) -> str:
    """Returns 16 hex digits over the weights of a torch module and what else its results depend on."""
    state = hashlib.blake2b(digest_size=8)
    for name, value in sorted(model.state_dict().items()):
        state.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        state.update(value.detach().cpu().contiguous().reshape(-1).numpy().data)
    for one in more:
        state.update(one)
    return state.hexdigest()


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file, made once while it stays as it is. Raises OSError where it cannot be read."""
    state = path.stat()
    return _file_digest(path, state.st_size, state.st_mtime_ns)


@cache
def _file_digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
