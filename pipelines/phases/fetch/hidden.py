"""Removed rows are taken out of the copies of lists and out of the reports, as they were taken out of raw shards."""

from typing import TYPE_CHECKING

from pipelines.fetch.raw import Raw
from pipelines.fetch.report import Report
from pipelines.files import shown
from pipelines.outputs import witnessed
from pipelines.parquet import read_table
from pipelines.phases.fetch.lists import PARQUET, list_path, lists_of, sources_of
from pipelines.phases.fetch.tasks import raw_folder
from pipelines.recipe.model import Source
from pipelines.sources import InputShard, urls

if TYPE_CHECKING:
    from pipelines.build import Build


def hide(build: "Build") -> None:
    """Takes removed rows out of the copies of lists and out of the reports, as they were taken out of raw shards.

    Says which folders of a person's own they stay in.
    """
    for source in sources_of(build.recipe):
        raw = Raw(build.layout, raw_folder(build.recipe, source))
        if source.fetch.raw is not None:
            if any(raw.gone(source.id, name) for name in _names(build, source)):
                build.reporter.say(
                    f"source {source.id}: removed rows stay in {shown(source.fetch.raw)} (fetch.raw), which is yours: "
                    "take them out there, or remove the folder and fetch again"
                )
            continue
        for shard in lists_of(build.recipe, source):
            if shard.format != PARQUET:
                _hide_in_list(build, raw, shard)
        Report(build.layout, raw, source).write(_names(build, source))


def _names(build: "Build", source: Source) -> list[str]:
    return sorted(name for owner, name in build.shards if owner == source.id)


def _hide_in_list(build: "Build", raw: Raw, shard: InputShard) -> None:
    """Takes the rows of a list out of its copy that are out of the raw shards."""
    layout, rows, path = build.layout, set[int](), list_path(build.layout, shard)
    for name in _names(build, build.recipe.source(shard.source)):
        if name.rpartition("-")[0] == shard.shard and (gone := raw.gone(shard.source, name)):
            statuses = read_table(layout, raw.status(name), ["key", "row", "url"]).to_pylist()
            rows |= {one["row"] for one in statuses if one["key"] in gone and one["url"] is None}
    if rows:
        table = read_table(layout, path)
        out = [number in rows for number in range(table.num_rows)]
        with witnessed() as written:
            urls.blank(layout, path, table, out, lambda: layout.store.identity(path))
        build.vouch(written)
