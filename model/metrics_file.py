"""metrics.json: what stages and evaluations measured, each under its own name."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def merge_metrics(path: Path, part: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the entries of `part` into the file, beside what is there; gives the whole."""
    whole: dict[str, Any] = {}
    if path.is_file():
        try:
            found = json.loads(path.read_text("utf-8"))
        except ValueError:
            found = None
        if isinstance(found, dict):
            whole = found
    whole.update(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
    os.replace(scratch, path)
    return whole
