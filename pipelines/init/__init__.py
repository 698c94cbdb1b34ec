"""`vlcorpus init`: a first recipe from what some paths hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.files import Store, is_local, local_path
from pipelines.init.recipe import recipe
from pipelines.init.survey import Survey, survey
from pipelines.recipe.load import unknown_names
from pipelines.recipe.parse import parse
from schemas.errors import OutputError


def write(
    paths: Sequence[str], out: str, force: bool = False, storage_options: Mapping[str, Any] | None = None
) -> list[Survey]:
    """Writes a commented recipe over the paths and returns what it found there.

    Raises InputError where a path holds nothing to read, OutputError where `out` exists, its folder does not, or it
    cannot be written.
    """
    if not is_local(out):
        raise OutputError(f"{out}: a recipe is a file of this machine; give --out a local path")
    folder = Path(local_path(out)).parent
    if Path(local_path(out)).exists() and not force:
        raise OutputError(f"{out} exists: give --force to replace it, or --out with another name")
    if not folder.is_dir():
        raise OutputError(
            f"cannot write {out}: there is no folder {folder}; make it, or give --out another path"
        )
    found = survey(paths, storage_options)
    text = recipe(found)
    parse(text, out, check=unknown_names)
    Store().write_bytes(out, text.encode(), folder)
    return found
