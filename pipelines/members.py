"""The ledger of members: what became of every member of a source's tars, added up from measure's receipts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pipelines.engines.step import Json
from pipelines.readers.ledger import REASONS
from schemas.errors import InputError
from schemas.manifest import Members, UnusedMembers
from schemas.recipe import Recipe

_ALWAYS: Final = 10
"""So many unused images never stop a source."""

_EXAMPLES: Final = 3


def members_of(recipe: Recipe, measured: Mapping[tuple[str, str], Json]) -> dict[str, Members]:
    """Returns the ledger of each source that has tars, in the recipe's order."""
    ledgers: dict[str, list[tuple[str, Json]]] = {}
    for (source, shard), receipt in sorted(measured.items()):
        if receipt["members"]:
            ledgers.setdefault(source, []).append((shard, receipt["members"]))
    return {one.id: added_up(ledgers[one.id]) for one in recipe.sources if one.id in ledgers}


def added_up(ledgers: Iterable[tuple[str, Json]]) -> Members:
    """Returns the sums of the ledgers of shards, given with the shards' names."""
    listed = list(ledgers)
    counts = {
        name: sum(ledger[name] for _, ledger in listed)
        for name in ("members", "records", "used", "metadata", "images", "last_dot")
    }
    return Members(**counts, unused={reason: one for reason in REASONS if (one := _unused(listed, reason))})


def _unused(ledgers: Iterable[tuple[str, Json]], reason: str) -> UnusedMembers | None:
    found = [(shard, ledger["unused"][reason]) for shard, ledger in ledgers if reason in ledger["unused"]]
    examples = [f"{shard}: {name}" for shard, one in found for name in one["examples"]]
    return (
        UnusedMembers(
            members=sum(one["members"] for _, one in found),
            images=sum(one["images"] for _, one in found),
            examples=tuple(examples[:_EXAMPLES]),
        )
        if found
        else None
    )


def notes(ledgers: Mapping[str, Members]) -> Iterator[str]:
    """Yields what a person should know of each source's members: those that no row uses, and how names are split."""
    for source, ledger in ledgers.items():
        if ledger.last_dot:
            yield (
                f"source {source}: in {ledger.last_dot:,} of its tars the members' names are split at their last dot, "
                "since the first would merge images (read.names)"
            )
        if ledger.unused:
            yield f"source {source}: {unused_text(ledger)}"


def unused_text(ledger: Members) -> str:
    """Returns how many members no row uses, by reason, with examples."""
    count = sum(one.members for one in ledger.unused.values())
    parts = [
        f"{one.members:,} {REASONS[reason]} ({one.images:,} images; {', '.join(one.examples)})"
        for reason, one in ledger.unused.items()
    ]
    return f"no row uses {count:,} of the {ledger.members:,} members of its tars: {'; '.join(parts)}"


def check_unused(recipe: Recipe, ledgers: Mapping[str, Members]) -> None:
    """Raises InputError for a source of whose images too many are used by no row."""
    for source, ledger in ledgers.items():
        limit = recipe.max_unused_of(recipe.source(source))
        if ledger.unused_images > max(_ALWAYS, limit * ledger.images):
            raise InputError(
                f"source {source}: no row uses {ledger.unused_images:,} of the {ledger.images:,} images in its tars, "
                f"more than max_unused {limit:g} ({unused_text(ledger)}); name the suffix of its images in columns "
                "(columns: {image: …}), or, where they may be left out, raise the source's max_unused"
            )
