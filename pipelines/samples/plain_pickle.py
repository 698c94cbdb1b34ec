"""A pickle that holds plain containers only, without running any of it.

RefCOCO's refs(*).p are Python 2 pickles of lists, dicts, texts and numbers. A pickle is a program; this
reader knows only the instructions that build such values, so that there is nothing to exploit.
"""

import io
import pickle
import pickletools
from typing import Any, Final, NoReturn

from schemas.errors import ShardError

MAX_BYTES: Final = 1 << 30
MAX_OPCODES: Final = 100_000_000

_PLAIN: Final = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP"),
        *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
        *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
        *(
            "UNICODE",
            "BINUNICODE",
            "SHORT_BINUNICODE",
            "BINUNICODE8",
            "BINBYTES",
            "SHORT_BINBYTES",
            "BINBYTES8",
        ),
        *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
        *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    )
)


def load(data: bytes, where: str) -> Any:
    """The value in `data`; ShardError, naming `where`, if it holds anything but plain containers.

    Python 2's byte strings are read as Latin-1, as their publishers' code does.
    """
    if len(data) > MAX_BYTES:
        raise ShardError(f"{where} is a pickle of {len(data)} bytes; the limit is {MAX_BYTES}")
    _check(data, where)
    try:
        return _Plain(io.BytesIO(data), encoding="latin-1").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise ShardError(f"{where} is a damaged pickle ({type(error).__name__}); fetch it again") from error
    except (OverflowError, MemoryError, RecursionError) as error:
        raise ShardError(f"{where} is a pickle that cannot be read ({type(error).__name__})") from error


class _Plain(pickle.Unpickler):
    """A second lock: even an instruction that should have been refused finds no class."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain container")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("a persistent id is no plain container")


def _check(data: bytes, where: str) -> None:
    """Walks the instructions without following them: each must be plain, each length within the data."""
    try:
        for count, (opcode, argument, place) in enumerate(pickletools.genops(data)):
            if opcode.name not in _PLAIN:
                raise ShardError(
                    f"{where} is a pickle with the instruction {opcode.name} at byte {place}, which could "
                    "run code; only lists, dicts, tuples, texts and numbers are read"
                )
            if opcode.name in ("PUT", "LONG_BINPUT") and isinstance(argument, int) and argument > len(data):
                raise ShardError(f"{where} is a damaged pickle: a memo number of {argument}")
            if count > MAX_OPCODES:
                raise ShardError(f"{where} is a pickle of more than {MAX_OPCODES} instructions")
    except (ValueError, EOFError, IndexError, UnicodeDecodeError, OverflowError) as error:
        raise ShardError(f"{where} is a damaged pickle ({type(error).__name__}); fetch it again") from error
