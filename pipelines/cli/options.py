"""Arguments and options that several commands share.

How the help reads: a command's line in a list is its whole first sentence.
"""

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipelines.engines import EngineName
from schemas.errors import RecipeError

runner_options: list[str] = []
"""What follows `--` on the command line: options of a Beam runner."""


def among(*names: str) -> Callable[[str], list[str]]:
    """Returns what completes a word to one of `names`."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def _kinds(incomplete: str) -> list[str]:
    """Completes the kinds of sources that are no more than their paths."""
    from pipelines.sources.table import KINDS

    return among(*(name for name, kind in KINDS.items() if not kind.drafts))(incomplete)


PRESETS = ("tiny", "small", "base", "qwen-vl-7b")
DEVICES = ("auto", "cpu", "cuda")
STAGES = ("all", "primer", "language", "sight", "1", "2", "3")
"""What TAB offers where a value is free or checked later: their own modules are slow to load."""

MOST = 10**9
"""The largest number of samples, rows or steps that an option takes."""

LARGEST_SEED = 2**63 - 1

Inputs = Annotated[list[str], typer.Argument(help="a recipe (.yaml), or tars, folders, Parquet files, globs")]
RecipePath = Annotated[str, typer.Argument(help="a recipe (.yaml)")]
Out = Annotated[
    str | None, typer.Option(help="folder of the corpus, local or s3://; default: the recipe's `out`")
]
Languages = Annotated[list[str] | None, typer.Option("--language", help="keep these: en,zh or repeated")]
Engines = Annotated[EngineName, typer.Option(help="what runs the work")]
Readers = Annotated[
    EngineName | None,
    typer.Option("--engine", help="what reads the shards; default: this process, local with --workers"),
]
Workers = Annotated[int | None, typer.Option(min=1, max=4096, help="worker processes; default: one a core")]
Sample = Annotated[float | None, typer.Option(min=0, max=1, help="share of the keys that takes part, 0-1")]
Quarantine = Annotated[
    float | None, typer.Option(min=0, max=1, help="largest share of a source's rows in quarantine")
]
RemovedList = Annotated[
    str | None, typer.Option(help="rows to remove: a list of their key, id, url, host or sha256")
]
KeyList = Annotated[str | None, typer.Option("--keys", metavar="FILE", help="a list of keys")]
IdList = Annotated[str | None, typer.Option("--ids", metavar="FILE", help="a list of ids")]
UrlList = Annotated[str | None, typer.Option("--urls", metavar="FILE", help="a list of addresses")]
HostList = Annotated[str | None, typer.Option("--hosts", metavar="FILE", help="a list of hosts of addresses")]
DigestList = Annotated[str | None, typer.Option(metavar="FILE", help="a list of digests of images")]
TokenizerPath = Annotated[
    str | None, typer.Option("--tokenizer", metavar="FOLDER", help="tokens are counted by this tokenizer")
]
OnlyListed = Annotated[bool, typer.Option("--only-listed", help="leave rows with an image like theirs")]
BadShards = Annotated[
    int | None, typer.Option(min=0, max=MOST, help="damaged input shards that are tolerated")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be kept; write nothing")]
Json = Annotated[bool, typer.Option("--json", help="JSON lines for machines")]
Address = Annotated[str | None, typer.Option(help="address of a Ray cluster; default: one in this process")]
VerdictFile = Annotated[str | None, typer.Option("--verdicts", help="replay the verdicts of this file")]
Kind = Annotated[
    str, typer.Option(help="what the inputs are (docs/recipe.md); default: found out", autocompletion=_kinds)
]
Corpus = Annotated[str, typer.Argument(help="folder of a corpus")]
StorageOptions = Annotated[
    str | None,
    typer.Option(
        "--storage-options",
        metavar="FILE",
        help="YAML or JSON with fsspec's options for s3:// and others, as a recipe's storage_options",
    ),
]
WithWork = Annotated[
    bool,
    typer.Option(
        "--work", help="check work/ too: receipts, signals, clusters, scores, decisions, row by row"
    ),
]
Samples = Annotated[int, typer.Option("--n", "-n", min=1, max=MOST, help="how many samples")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N", autocompletion=among(*DEVICES))]
Stage = Annotated[
    str,
    typer.Option(
        help="all, or primer, language, sight, 1, 2, 3, separated by commas", autocompletion=among(*STAGES)
    ),
]
Preset = Annotated[
    str,
    typer.Option(help="tiny, small, base, qwen-vl-7b, or a YAML file", autocompletion=among(*PRESETS)),
]
Steps = Annotated[int | None, typer.Option(min=1, max=MOST, help="optimiser steps of every stage")]


def recipe_keys(
    out: str | None,
    language: list[str] | None,
    sample: float | None = None,
    max_quarantine: float | None = None,
    max_bad_shards: int | None = None,
    removed: str | None = None,
) -> dict[str, Any]:
    """Returns the options that stand for keys of the recipe, where they are given."""
    languages = [code.strip() for given in language or [] for code in given.split(",") if code.strip()]
    if language and not languages:
        raise RecipeError("--language names no language; give ISO 639-1 codes such as en,zh, or leave it out")
    given = {
        "out": out,
        "languages": languages or None,
        "sample": sample,
        "max_quarantine": max_quarantine,
        "max_bad_shards": max_bad_shards,
        "removed": removed,
    }
    return {key: value for key, value in given.items() if value is not None}


class Group(TyperGroup):
    """Commands under one name; left to itself, typer cuts a command's line where the terminal ends."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for command in self.commands.values():
            command.short_help = command.get_short_help_str(limit=sys.maxsize)
