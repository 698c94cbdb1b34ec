"""Where a page's picture lies: a file in the page's own folder, or nowhere that is read."""

import posixpath
import re
from typing import Final
from urllib.parse import unquote

from pipelines.datasets.reasons import Refused

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def local_name(reference: str) -> str:
    """The file's path below the page's folder, with / between its parts.

    Refused: `inline_image` for a data address, `remote_image` for any other address, `outside_image` for a
    path that leaves the folder, `no_image` for none.
    """
    reference = reference.strip()
    if reference[:5].lower() == "data:":
        raise Refused("inline_image")
    if reference.startswith("//") or (_SCHEME.match(reference) and not _drive(reference)):
        raise Refused("remote_image", reference[:200])
    path = unquote(reference.split("#")[0].split("?")[0], errors="replace").replace("\\", "/")
    if not path:
        raise Refused("no_image", "the page gives no name")
    name = posixpath.normpath(path)
    if _drive(name) or _CONTROL.search(name) or name.startswith(("/", "../")) or name in (".", ".."):
        raise Refused("outside_image", reference[:200])
    return name


def _drive(reference: str) -> bool:
    """Whether a path begins with a drive letter, which is no scheme."""
    return reference[1:2] == ":" and reference[:1].isalpha()
