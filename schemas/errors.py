"""What can go wrong, as one tree.

    VlcorpusError            a person can mend it: one sentence, exit code 1
    ├── RecipeError          the recipe is wrong: names the key and the line
    ├── InputError           a source cannot be read as asked: names source, file and remedy
    │   └── ShardError       one input shard is damaged; what was read before it counts
    │       └── ChangedError one input shard is no longer what was measured
    ├── OutputError          what was asked for cannot be written: disk full, folder in use
    ├── DamagedError         a file below work/ is not what the phase that wrote it left: it is made again
    ├── ModelError           a model cannot be loaded, or gives no numbers
    └── VerifyError          a corpus does not match its manifest
    RowError                 one row cannot be used: data, never a stop; it quarantines the row

Anything else that is raised is a mistake in the program and propagates with its traceback.
"""

import difflib
import shlex
from collections.abc import Iterable
from typing import Final

from schemas.plain import plain

ROW_ERRORS: Final = {
    "empty": "the image has no bytes",
    "no_image": "the row has no image",
    "several_images": "the record has several images, and the source keeps no such records, or more than `read.images`",
    "not_image": "the bytes are not a picture of any format that is known",
    "unsupported_format": "a picture, but of a format that the recipe does not admit",
    "truncated": "the picture ends before its data does",
    "undecodable": "the picture's header is sound but its data is not",
    "too_many_pixels": "the header announces more pixels than the limit",
    "too_many_scans": "a JPEG of more scans than any encoder writes, each of which costs a pass over the image",
    "too_large": "more bytes than the limit",
    "bad_row": "the row's own record is malformed",
    "crash": "the process died each time it measured this row",
    "deadline": "the row took more than resources.row_cpu_seconds, or than row_wall_seconds, each time",
    "out_of_memory": "the row took more than resources.memory_gb each time",
}
"""The classes of error that quarantine a row, with what each means."""


class VlcorpusError(Exception):
    """A failure that the person at the keyboard can mend; its text is one sentence, or one a line.

    Sentences name files, members and addresses of strangers, so each line is as `plain` gives it.
    """

    def __init__(self, *lines: object) -> None:
        super().__init__(*map(plain, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


class RecipeError(VlcorpusError):
    """The recipe, or an option that stands for a part of it, is wrong."""


class InputError(VlcorpusError):
    """A source cannot be read as the recipe asks."""


class ShardError(InputError):
    """An input shard is damaged or unreadable; rows read before the damage stay."""


class ChangedError(ShardError):
    """An input shard changed after it was measured; it has to be measured again."""


class OutputError(VlcorpusError):
    """The output cannot be written."""


class DamagedError(VlcorpusError):
    """A file that an earlier phase wrote is missing or damaged; it has to be made again."""


class ModelError(VlcorpusError):
    """A model's library or weights cannot be used, or what it computes is not a number."""


class VerifyError(VlcorpusError):
    """A corpus does not match its manifest."""


def missing(what: str, *packages: str, ours: bool = True) -> str:
    """Returns the sentence that says which packages `what` needs, and how to install them.

    `ours`: they are among the project's extras, which `make install` installs.
    """
    names = ", ".join(package.partition("[")[0] for package in packages)
    make = "run `make install` in the checkout, or " if ours else ""
    return f"{what} needs {names}: {make}pip install {shlex.join(packages)}"


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns `did you mean …? ` with the name that is nearest to one that is not known; nothing where none is near."""
    near = difflib.get_close_matches(name, list(names), 1, 0.6)
    return f"did you mean {near[0]}? " if near else ""


class RowError(Exception):
    """A row that cannot be used: `kind` is a key of ROW_ERRORS, `message` says more."""

    def __init__(self, kind: str, message: str = "") -> None:
        if kind not in ROW_ERRORS:
            raise ValueError(f"unknown row error {kind!r}")
        super().__init__(kind, message)
        self.kind = kind
        self.message = message or ROW_ERRORS[kind]

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"
