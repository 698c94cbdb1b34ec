"""The funnel as a person reads it at the end of a run."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from pipelines.paths import is_local
from schemas.manifest import Funnel


def funnel_table(source: str, funnel: Funnel) -> Table:
    """One source's rows, rule by rule: how many fell there first, how many failed it at all."""
    table = Table(title=f"source {source}", title_justify="left")
    table.add_column("what became of the rows")
    table.add_column("rows", justify="right")
    table.add_column("%", justify="right")
    table.add_column("failed in all", justify="right")
    table.add_row("read", f"{funnel.rows:,}", "100.0", "")
    for error, count in funnel.errors.items():
        table.add_row(f"quarantined: {error}", f"{count:,}", _percent(count, funnel.rows), "")
    for rule in funnel.rules:
        table.add_row(
            f"dropped: {rule.rule}",
            f"{rule.dropped:,}",
            _percent(rule.dropped, funnel.rows),
            f"{rule.failed:,}",
        )
    table.add_section()
    table.add_row("kept", f"{funnel.kept:,}", _percent(funnel.kept, funnel.rows), "", style="bold")
    return table


def print_funnels(console: Console, funnels: Mapping[str, Funnel]) -> None:
    """All sources, one table each."""
    for source, funnel in funnels.items():
        console.print(funnel_table(source, funnel))


def print_end(funnels: Mapping[str, Funnel], out: str, complete: bool) -> None:
    """Prints what became of the rows and, where the corpus is whole, where it is and how to check it."""
    console = Console()
    print_funnels(console, funnels)
    if complete:
        console.print(f"corpus: {out} (README.md says what is in it)", highlight=False, soft_wrap=True)
        console.print(f"check:  {_check(out)}", highlight=False, soft_wrap=True)


def _check(out: str) -> str:
    """The command that checks a corpus; on an object store with the option for what the recipe alone has."""
    if is_local(out):
        return f"vlcorpus verify {out}"
    return (
        f"vlcorpus verify {out} --storage-options FILE (FILE: the recipe's storage_options; where there are none, "
        "leave the option out)"
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"
