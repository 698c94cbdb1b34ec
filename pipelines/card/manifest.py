"""From the receipts of a run to the manifest and the card; and the end of whatever they do not name."""

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from filters.rules import in_order
from filters.table import Rules
from pipelines import removal
from pipelines.annotated import annotated
from pipelines.card.drawn import held
from pipelines.card.facts import facts, libraries
from pipelines.card.readme import card
from pipelines.engines.step import Json
from pipelines.files import FileInfo, join, local_path
from pipelines.layout import Layout, Name, text_of
from pipelines.phases import changes
from pipelines.phases.auto import settled
from pipelines.phases.score import scorer_libraries
from pipelines.phases.shard import MOST_LICENCES, most_common
from pipelines.receipts import WHOLE, fingerprint, versions
from pipelines.recipe.load import thresholds
from pipelines.recipe.model import Recipe
from pipelines.remarks import members_of
from pipelines.removal import Removed
from pipelines.segments import bytes_of
from pipelines.sizes import image_tokens, name_of, totals
from pipelines.sources.table import KINDS
from pipelines.verdicts import Verdicts
from schemas.errors import OutputError
from schemas.manifest import (
    CARD,
    MANIFEST,
    MAX_BYTES,
    RECIPE,
    SUM,
    BadShard,
    Funnel,
    Manifest,
    Output,
    RuleCount,
    SampleCount,
    Source,
    Verdict,
    ViewCount,
    is_of_corpus,
    sum_file,
)
from schemas.mixture import to_json
from schemas.plain import many

if TYPE_CHECKING:
    from pipelines.build import Build

_SHOWN: Final = 5

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
        _remove_orphans(build, _named(build), before)
        build.reporter.task({})
        seen = {name: _seen(layout, name) for name in (RECIPE, CARD, MANIFEST, SUM)}
        return {"manifest": whole, "files": seen}

    build.check_others()
    mark = _fingerprint(build)
    files = build.receipts("card").last(WHOLE).get("files", {})
    stays = bool(files) and all(_seen(layout, name) == seen for name, seen in files.items())
    build.whole("card", mark, work, again=not stays)
    if stays and build.results["card"]:
        _remove_orphans(build, _named(build), ())


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


def _named(build: "Build") -> set[str]:
    """Returns the names of the files that the manifest of this corpus lists."""
    shards = {file["name"] for receipt in build.results["shard"].values() for file in receipt["files"]}
    return shards | {RECIPE, CARD} | ({removal.NAME} if build.removed else set())


def write_card(recipe: Recipe, layout: Layout, results: Results, removed: Removed) -> str:
    """Writes the recipe, the card, the manifest and its digest, which it returns.

    Raises OutputError before it writes the manifest where nobody could read it.
    """
    files = [file for receipt in results["shard"].values() for file in receipt["files"]]
    outputs = {f["name"]: Output(size=f["size"], sha256=f["sha256"], rows=f["rows"]) for f in files}
    listed = _listed(layout, removed)
    digest = recipe.digest(removed.digest())
    names = [name for name in results["measure"] if KINDS[recipe.source(name[0]).kind].annotated]
    described = _manifest(digest, recipe, results, Verdicts.read(layout), outputs)
    described = described.model_copy(update={"annotations": annotated(layout, names)})
    listed[RECIPE] = _written(layout, RECIPE, recipe.determining(removed.digest()))
    described = described.model_copy(update={"outputs": outputs | listed})
    listed[CARD] = _written(layout, CARD, card(described).encode())
    whole = described.model_copy(update={"outputs": outputs | listed})
    data = whole.dump()
    if len(data) > MAX_BYTES:
        raise OutputError(
            f"{layout.at(MANIFEST)} would have {len(data):,} bytes for {len(files):,} files, and one of more than "
            f"{MAX_BYTES:,} is not read: raise shards.samples ({recipe.shards.samples:,} now), or make several corpora"
        )
    _written(layout, MANIFEST, data)
    _written(layout, SUM, sum_file(data))
    return hashlib.sha256(data).hexdigest()


def _written(layout: Layout, name: str, data: bytes) -> Output:
    """Writes a file of the corpus; returns what the manifest says of it."""
    layout.store.write_bytes(layout.at(name), data, layout.tmp)
    return Output(size=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=None)


def _listed(layout: Layout, removed: Removed) -> dict[str, Output]:
    """The list of removed rows as a file of the corpus, where there is one."""
    if not removed:
        return {}
    data = layout.store.read_bytes(layout.at(removal.NAME))
    return {removal.NAME: Output(size=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=len(removed))}


def funnels(recipe: Recipe, decided: Mapping[Name, Json]) -> dict[str, Funnel]:
    """What became of each source's rows, from select's receipts."""
    return {
        source.id: _funnel(
            (receipt for (owner, _), receipt in sorted(decided.items()) if owner == source.id),
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
    digest: str, recipe: Recipe, results: Results, verdicts: Verdicts, outputs: dict[str, Output]
) -> Manifest:
    measured, decided = results["measure"], results["select"]
    written = [(_place(receipt["files"][0]["name"]), receipt) for receipt in results["shard"].values()]
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
        samples=_samples(written),
        views=_views(written),
        licences=_licences(written),
        sizes=sizes,
        tokenizer=name_of(recipe),
        preset=recipe.preset,
        image_tokens=image_tokens(recipe),
        mixture=to_json(held(recipe.mixture, sizes)),
        verdicts=tuple(
            Verdict(source=source, shard=shard, member=member, error=kind, message=message)
            for (source, shard), receipt in sorted(measured.items())
            for member, (kind, message) in verdicts.of(source, shard).by_member().items()
            if member in receipt["blamed"].values()
        ),
        bad_shards=tuple(
            BadShard(source=source, shard=shard, rows=receipt["rows"], error="damaged")
            for (source, shard), receipt in sorted(measured.items())
            if receipt["damaged"]
        ),
        outputs=outputs,
        shards=_order(outputs),
    )


def _place(name: str) -> tuple[str, str, str]:
    """Returns split, group and source of a file of samples."""
    _, split, group, source, _ = name.split("/")
    return split, group, source


def _order(outputs: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Returns the names of the shards by folder, in the order in which they are given; a tar and its index are one."""
    found: dict[str, dict[str, None]] = {}
    for name in outputs:
        folder, _, file = name.rpartition("/")
        found.setdefault(folder, {})[file.rpartition(".")[0]] = None
    return {folder: tuple(names) for folder, names in found.items()}


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


def _samples(written: Sequence[tuple[tuple[str, str, str], Json]]) -> tuple[SampleCount, ...]:
    """Returns the counts of samples and images, from the receipts of shards with their (split, group, source)."""
    found: dict[tuple[str, str, str], Counter[str]] = {}
    for place, receipt in written:
        counts = {name: receipt[name] for name in ("samples", "images")}
        found.setdefault(place, Counter()).update(counts)
    return tuple(
        SampleCount(
            split=split, group=group, source=source, samples=counts["samples"], images=counts["images"]
        )
        for (split, group, source), counts in sorted(found.items())
    )


def _views(written: Sequence[tuple[tuple[str, str, str], Json]]) -> tuple[ViewCount, ...]:
    found: dict[tuple[str, str, str, str], Counter[str]] = {}
    for (split, group, source), receipt in written:
        for task, language, count in receipt["views"]:
            found.setdefault((split, group, task, source), Counter())[language] += count
    return tuple(
        ViewCount(
            split=split,
            group=group,
            task=task,
            source=source,
            views=languages.total(),
            languages=dict(sorted(languages.items())),
        )
        for (split, group, task, source), languages in sorted(found.items())
    )


def _licences(written: Sequence[tuple[tuple[str, str, str], Json]]) -> dict[str, dict[str, int]]:
    """Returns how many views of each source are under each licence."""
    found: dict[str, Counter[str]] = {}
    for (_, _, source), receipt in written:
        found.setdefault(source, Counter()).update(receipt["licences"])
    return {source: most_common(counts, MOST_LICENCES) for source, counts in sorted(found.items())}


def _remove_orphans(build: "Build", named: Collection[str], before: Collection[str]) -> None:
    """Removes the files that the manifest does not name (`named`), and the folders that this empties.

    Says which ones an earlier manifest (`before`) did not name either. Of a folder that is a link to one elsewhere the
    link goes, and what lies there stays, unless it holds files of the corpus.
    """
    layout, found = build.layout, set()
    for info in _own_files(layout):
        if info.name not in named:
            link = _link_to(layout, info.name)
            if link is not None and not any(name.startswith(f"{link}/") for name in named):
                layout.store.remove(layout.at(link))
                found.add(link)
            else:
                layout.store.remove(info.path)
                found.add(info.name)
    folders = {name.rpartition("/")[0] for name in found}
    for folder in sorted(folders) if layout.is_local else ():
        layout.store.sync(
            layout.at(folder)
        )  # a loss of power must not bring them back beside the card's receipt
    layout.store.remove_empty(layout.out, folders)
    if orphans := found.difference(before):
        build.reporter.say(_removed(layout, sorted(orphans)))


def _own_files(layout: Layout) -> Iterator[FileInfo]:
    """Yields the files that a manifest has to name; work/, which holds many times more of them, is not listed."""
    for entry in layout.store.entries(layout.out):
        info = entry.info
        if not entry.is_folder and is_of_corpus(info.name):
            yield info
        elif entry.is_folder and is_of_corpus(f"{info.name}/"):
            for one in layout.store.list_files(info.path):
                yield one._replace(name=join(info.name, one.name))


def _link_to(layout: Layout, name: str) -> str | None:
    """Returns the outermost folder on the way to a file of the corpus that is a link; None where none is."""
    parts = name.split("/")[:-1] if layout.is_local else []
    folders = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return next((one for one in folders if os.path.islink(local_path(layout.at(one)))), None)


def _removed(layout: Layout, names: Sequence[str]) -> str:
    """Returns the sentence on the files that were removed and that no earlier manifest named."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return (
        f"{layout.out}: {many(len(names), 'file')} that the manifest does not name, removed: "
        f"{', '.join(names[:_SHOWN])}{more}"
    )
