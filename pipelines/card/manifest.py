"""From the receipts of a run to the manifest and the card; and the end of whatever they do not name."""

import hashlib
import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from filters.rules import in_order
from filters.table import Rules
from pipelines import removal
from pipelines.annotated import annotated
from pipelines.card.drawn import held
from pipelines.card.facts import facts, libraries
from pipelines.card.readme import card
from pipelines.card.written import Written
from pipelines.engines.step import Json
from pipelines.files import local_path
from pipelines.layout import Layout, Name, text_of
from pipelines.manifest import read_manifest, unnamed, with_list
from pipelines.phases import changes
from pipelines.phases.auto import settled
from pipelines.phases.score import scorer_libraries
from pipelines.receipts import WHOLE, fingerprint, versions
from pipelines.recipe.load import thresholds
from pipelines.recipe.model import Recipe
from pipelines.remarks import members_of
from pipelines.removal import Removed
from pipelines.segments import bytes_of
from pipelines.sizes import image_tokens, name_of, totals
from pipelines.sources.table import KINDS
from pipelines.verdicts import Verdicts
from schemas.errors import OutputError, VerifyError
from schemas.manifest import (
    CARD,
    MANIFEST,
    MAX_BYTES,
    RECIPE,
    SUM,
    BadShard,
    Funnel,
    Manifest,
    RuleCount,
    Source,
    Verdict,
    is_of_corpus,
    is_of_shards,
    load,
    sum_file,
)
from schemas.manifest_files import MOST_IN_JSON, Listed, Output, dump_list, list_name
from schemas.mixture import to_json
from schemas.plain import many

if TYPE_CHECKING:
    from pipelines.build import Build

_SHOWN: Final = 5

_OLD: Final = "of shards, as far as is known of the corpus that was there before"

Results = Mapping[str, Mapping[Name, Json]]
"""The receipts of a run by phase and input shard (pipelines/build.py)."""


def run(build: "Build") -> None:
    """Writes the manifest and the dataset card, where they are not those of this corpus yet; removes orphan files.

    The receipt says of which manifest the corpus is, and what the files hold that were written.
    """
    layout = build.layout

    def work() -> Json:
        before = changes.manifest_outputs(layout)
        whole = write_card(build.recipe, layout, build.results, build.removed)
        _remove_orphans(build, whole.outputs, before, was_cut)
        build.reporter.task({})
        names = (RECIPE, CARD, MANIFEST, SUM, *([whole.files] if whole.files else []))
        seen = {name: _seen(layout, name) for name in names}
        return {"manifest": seen[MANIFEST], "files": seen}

    build.check_others()
    mark = _fingerprint(build)
    last = build.receipts("card").last(WHOLE)
    files = last.get("files", {})
    # a run that was ended after it wrote its manifest left the shards of the corpus that was there before
    was_cut = _seen(layout, MANIFEST) not in (None, last.get("manifest"))
    stays = bool(files) and all(_seen(layout, name) == seen for name, seen in files.items())
    build.whole("card", mark, work, again=not stays)
    if stays and build.results["card"]:
        _remove_orphans(build, read_manifest(layout.store, layout.out).outputs, ())


def _fingerprint(build: "Build") -> str:
    """Returns the fingerprint of all that the manifest and the card depend on: their own code is of it."""
    digest = hashlib.blake2b(digest_size=16)
    for phase, marks in build.fingerprints.items():
        for name, mark in marks.items() if phase != "card" else ():
            digest.update(f"{phase}/{text_of(name)} {mark}\n".encode("utf-8", "surrogatepass"))
    made_with = [_versions(build.recipe), facts(build.recipe, build.results["ground"]), _source()]
    return fingerprint("card", 2, build.recipe.digest(build.removed.digest()), made_with, digest.hexdigest())


@cache
def _source() -> str:
    """Returns the digest of the code and the template of this folder."""
    files = sorted(
        (one.name, one.read_bytes())
        for one in resources.files("pipelines.card").iterdir()
        if one.name.endswith((".py", ".jinja"))
    )
    return hashlib.sha256(b"".join(data for _, data in files)).hexdigest()


def _seen(layout: Layout, name: str) -> str | None:
    """Returns the SHA-256 of a file of the corpus; None where it is not there. A damaged one may have its old time."""
    data = bytes_of(layout.store, layout.at(name), MAX_BYTES)
    return None if data is None else hashlib.sha256(data).hexdigest()


def write_card(recipe: Recipe, layout: Layout, results: Results, removed: Removed) -> Manifest:
    """Writes the recipe, the card, the manifest with its list of files where it has one, and its digest.

    Returns the manifest. Raises OutputError before it writes the manifest where nobody could read it.
    """
    digest = recipe.digest(removed.digest())
    names = [name for name in results["measure"] if KINDS[recipe.source(name[0]).kind].annotated]
    written = Written.of(results["shard"].values())
    described = _manifest(
        digest, recipe, results, Verdicts.read(layout), written, _files(layout, written.files)
    )
    described = described.model_copy(update={"annotations": annotated(layout, names)})
    described = described.with_outputs(
        _listed(layout, removed) | {RECIPE: _written(layout, RECIPE, recipe.determining(removed.digest()))}
    )
    whole = described.with_outputs({CARD: _written(layout, CARD, card(described).encode())})
    data = whole.dump()
    _check_readable(layout, data, written.files.num_rows, recipe.shards.samples)
    _written(layout, MANIFEST, data)
    _written(layout, SUM, sum_file(data))
    return whole


def _check_readable(layout: Layout, data: bytes, files: int, samples: int) -> None:
    """Raises OutputError where the manifest with the bytes `data` would not be read back as what it is."""
    remedy = f"raise shards.samples ({samples:,} now), or make several corpora"
    if len(data) > MAX_BYTES:
        raise OutputError(
            f"{layout.at(MANIFEST)} would have {len(data):,} bytes for {files:,} files, and one of more than "
            f"{MAX_BYTES:,} is not read: {remedy}"
        )
    try:
        found = with_list(layout.store, layout.out, load(data)).dump()
    except VerifyError as error:
        raise OutputError(
            f"{layout.at(MANIFEST)} could not be read back: {error}; where the same command again does not help, "
            f"{remedy}"
        ) from error
    if found != data:
        raise OutputError(
            f"{layout.at(MANIFEST)} would be read back as another one: run the same command again"
        )


def _files(layout: Layout, table: pa.Table) -> dict[str, Any]:
    """Returns what the manifest says of the files of shards: of very many the list of them, which is written."""
    if table.num_rows <= MOST_IN_JSON:
        files = Listed({}, table)
        return {"outputs": dict(files.items()), "shards": dict(files.order.items())}
    data = dump_list(table)
    name = list_name(data)
    files = Listed({name: _written(layout, name, data, table.num_rows)}, table)
    return {"outputs": files, "shards": files.order, "files": name}


def _written(layout: Layout, name: str, data: bytes, rows: int | None = None) -> Output:
    """Writes a file of the corpus; returns what the manifest says of it."""
    layout.store.write_bytes(layout.at(name), data, layout.tmp)
    return Output.of(data, rows)


def _listed(layout: Layout, removed: Removed) -> dict[str, Output]:
    """The list of removed rows as a file of the corpus, where there is one."""
    if not removed:
        return {}
    return {removal.NAME: Output.of(layout.store.read_bytes(layout.at(removal.NAME)), len(removed))}


def funnels(recipe: Recipe, decided: Mapping[Name, Json]) -> dict[str, Funnel]:
    """What became of each source's rows, from select's receipts."""
    return {
        source.id: _funnel(
            (decided[name] for name in sorted(decided) if name[0] == source.id),
            type(recipe.rules),
        )
        for source in recipe.sources
    }


def _funnel(receipts: Iterable[Json], order: type[Rules]) -> Funnel:
    totals: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for receipt in receipts:
        totals.update({name: receipt[name] for name in ("rows", "kept", "dropped", "quarantined")})
        reasons.update(receipt["reasons"])
        failed.update(receipt["failed"])
        errors.update(receipt["errors"])
    rules = [
        RuleCount(rule=rule, dropped=reasons[rule], failed=failed[rule])
        for rule in in_order(failed, order)
        if failed[rule]
    ]
    counts = {name: totals[name] for name in ("rows", "kept", "dropped", "quarantined")}
    return Funnel(**counts, rules=tuple(rules), errors=dict(sorted(errors.items())))


def _manifest(
    digest: str,
    recipe: Recipe,
    results: Results,
    verdicts: Verdicts,
    written: Written,
    files: Mapping[str, Any],
) -> Manifest:
    """Returns the manifest; `files` are its fields on the files of shards."""
    measured, decided = results["measure"], results["select"]
    found = funnels(recipe, decided)
    sizes = totals(results["compose"])
    decider = settled(recipe, measured)
    return Manifest(
        name=recipe.name,
        recipe=digest,
        seed=recipe.seed,
        versions=_versions(recipe) | _detectors(results),
        plugins=recipe.plugins,
        facts=facts(recipe, results["ground"]),
        filters={one.name: one.version for one, _ in recipe.signals.running()},
        sources=tuple(
            Source(id=s.id, origin=s.origin, licence=s.licence, role=s.role, rows=found[s.id].rows)
            for s in recipe.sources
        ),
        fonts=tuple(
            sorted({font for receipt in results["render"].values() for font in receipt["made_with"]})
        ),
        scorers=sorted({name for receipt in results["score"].values() for name in receipt["scorers"]}),
        thresholds={
            source.id: thresholds(decider, source, _cuts(decided, source.id)) for source in decider.sources
        },
        funnel=found,
        members=members_of(measured),
        samples=written.samples,
        views=written.views,
        licences=written.licences,
        sizes=sizes,
        tokenizer=name_of(recipe),
        preset=recipe.preset,
        image_tokens=image_tokens(recipe),
        mixture=to_json(held(recipe.mixture, sizes)),
        verdicts=tuple(
            Verdict(source=source, shard=shard, member=member, error=kind, message=message)
            for source, shard in sorted(measured)
            for receipt in (measured[source, shard],)
            for member, (kind, message) in verdicts.of(source, shard).by_member().items()
            if member in receipt["blamed"].values()
        ),
        bad_shards=tuple(
            BadShard(source=source, shard=shard, rows=receipt["rows"], error="damaged")
            for source, shard in sorted(measured)
            for receipt in (measured[source, shard],)
            if receipt["damaged"]
        ),
        **files,
    )


def _versions(recipe: Recipe) -> dict[str, str]:
    """The libraries that can change the data, and the weights of filters by their digests."""
    running = recipe.signals.running()
    measured = [library for one, _ in running for library in one.libraries]
    found = versions(["pyarrow", *measured, *libraries(recipe), *scorer_libraries(recipe)])
    for one, settings in running:
        found |= one.weights(settings)
    return found


def _detectors(results: Results) -> dict[str, str]:
    """The detectors of grounded sources, by what their weights are."""
    found: dict[str, set[str]] = {}
    for (source, _), receipt in results["ground"].items():
        found.setdefault(f"detector of {source}", set()).update(receipt["detectors"])
    return {name: ", ".join(sorted(ids)) for name, ids in sorted(found.items()) if ids}


def _cuts(decided: Mapping[Name, Json], source_id: str) -> dict[str, float]:
    """The least score that stays by each `keep` threshold of a source, by language; equal in all its receipts."""
    return next((receipt["cuts"] for (owner, _), receipt in decided.items() if owner == source_id), {})


def _remove_orphans(
    build: "Build", named: Mapping[str, Output], before: Container[str], was_cut: bool = False
) -> None:
    """Removes the files that are not `named` by the manifest, and the folders that this empties.

    Says which ones an earlier manifest (`before`) did not name either; `was_cut` says that no receipt knows
    the manifest that lay there, so that shards and a list may be of one before it. Of a folder that is a link to one
    elsewhere the link goes, and what lies there stays, unless it holds files of the corpus.
    """
    layout, found = build.layout, set()
    for name in unnamed(_own_files(layout), named):
        link = _link_to(layout, name)
        if link is not None and not any(one.startswith(f"{link}/") for one in named):
            layout.store.remove(layout.at(link))
            found.add(link)
        else:
            layout.store.remove(layout.at(name))
            found.add(name)
    folders = {name.rpartition("/")[0] for name in found}
    for folder in sorted(folders) if layout.is_local else ():
        layout.store.sync(
            layout.at(folder)
        )  # a loss of power must not bring them back beside the card's receipt
    layout.store.remove_empty(layout.out, folders)
    orphans = [name for name in sorted(found) if name not in before]
    old = [name for name in orphans if was_cut and is_of_shards(name)]
    if old:
        build.reporter.say(_removed(layout, old, _OLD))
    if others := [name for name in orphans if name not in set(old)]:
        build.reporter.say(_removed(layout, others, "that the manifest does not name"))


def _own_files(layout: Layout) -> Iterator[str]:
    """Yields the names of the files that a manifest has to name, sorted.

    work/, which holds many times more files, is not listed.
    """
    there = layout.store.entries(layout.out)
    entries = {f"{one.info.name}/" if one.is_folder else one.info.name: one for one in there}
    for name, entry in sorted(entries.items()):
        if is_of_corpus(name) and entry.is_folder:
            yield from (f"{name}{one}" for one in layout.store.list_names(entry.info.path))
        elif is_of_corpus(name):
            yield name


def _link_to(layout: Layout, name: str) -> str | None:
    """Returns the outermost folder on the way to a file of the corpus that is a link; None where none is."""
    parts = name.split("/")[:-1] if layout.is_local else []
    folders = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return next((one for one in folders if os.path.islink(local_path(layout.at(one)))), None)


def _removed(layout: Layout, names: Sequence[str], which: str) -> str:
    """Returns the sentence on the files that were removed and that no earlier manifest named."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{layout.out}: {many(len(names), 'file')} {which}, removed: {', '.join(names[:_SHOWN])}{more}"
