"""What a person should know of a run's sources, and what stops it once they are measured.

Why rows were lost; what became of every member of a source's tars, added up from measure's receipts; columns that
differ between files; which rules of Qwen-VL's paper (its appendix on cleaning pairs) the run did without.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from filters.corpus_rules import Clip
from filters.extra import ColumnRules
from filters.scripts import Script, scripts_of
from filters.table import PAPER as HOW
from pipelines.datasets.conversations import IN_PIXELS
from pipelines.engines.step import Json
from pipelines.files import join
from pipelines.layout import Layout, Name, text_of
from pipelines.parquet import read_table
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard, column_names
from pipelines.sources.columns import ReadLimits
from pipelines.sources.ledger import REASONS, Ledger
from pipelines.sources.table import KINDS
from schemas.errors import InputError
from schemas.manifest import Funnel, Members, UnusedMembers
from schemas.markup.tags import GRID
from schemas.plain import many, mended

if TYPE_CHECKING:
    from pipelines.build import Build

_PARTICULARS: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d.,]*")
_SHOWN: Final = 3
_NAMED: Final = 20
_SUFFIXES: Final = 8
_MOST: Final = 10_000


def ignored_text(names: Sequence[str]) -> str:
    """How many files no shard reads, in all and by suffix, with one of each."""
    by_suffix: dict[str, list[str]] = {}
    for name in names:
        by_suffix.setdefault(posixpath.splitext(name)[1].lower(), []).append(name)
    ordered = sorted(by_suffix.items(), key=lambda item: (-len(item[1]), item[0]))
    listed = [
        f"{len(those):,} {suffix or 'without suffix'} ({those[0]}{', …' if len(those) > 1 else ''})"
        for suffix, those in ordered[:_SUFFIXES]
    ]
    more = ["…"] if len(ordered) > _SUFFIXES else []
    return f"{len(names):,} other files are ignored: {', '.join([*listed, *more])}"


@dataclass(frozen=True)
class Loss:
    """Quarantined rows of a source whose messages differ in names and numbers alone, and one row as an example."""

    source: str
    rows: int
    error: str
    message: str
    example: str

    def __str__(self) -> str:
        return f"{self.rows:,} × {self.error}: {self.message} (as in {self.example})"


class Losses:
    """Counts the messages of a source's quarantined rows; beyond 10,000 kinds a new one is among the others."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._kinds: dict[tuple[str, str], Loss] = {}
        self._rows = 0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Counts rows as `quarantined` gives them."""
        for row in rows:
            self._rows += 1
            message = row["error_message"] or ""
            kind = row["error"], _PARTICULARS.sub("…", message)
            known = self._kinds.get(kind)
            if known is not None:
                self._kinds[kind] = replace(known, rows=known.rows + 1)
            elif len(self._kinds) < _MOST:
                example = f"{row['shard']}/{mended(row['member'])}"
                self._kinds[kind] = Loss(self._source, 1, row["error"], message, example)

    def commonest(self) -> list[Loss]:
        """Returns the commonest messages, those with the most rows first."""
        return [loss for _, loss in sorted(self._kinds.items(), key=lambda one: (-one[1].rows, one[0]))][
            :_SHOWN
        ]

    def __str__(self) -> str:
        shown = self.commonest()
        more = self._rows - sum(loss.rows for loss in shown)
        return "; ".join([*map(str, shown), *([f"{more:,} others"] if more else [])])


def quarantined(layout: Layout, source: str, shard: str) -> list[dict[str, Any]]:
    """Returns the quarantined rows of a shard: shard, member, error, error_message."""
    table = read_table(
        layout, layout.path("signals", source, shard), ["shard", "member", "error", "error_message"]
    )
    rows: list[dict[str, Any]] = table.filter(table["error"].is_valid()).to_pylist()
    return rows


def commonest_errors(layout: Layout, source: str, shards: Iterable[str]) -> str:
    """The commonest messages of quarantined rows, each with its count and one row as an example."""
    losses = Losses(source)
    for shard in shards:
        losses.add(quarantined(layout, source, shard))
    return str(losses)


@dataclass
class Ledgers:
    """The ledgers of a source's tars, by the tars' names; `others` are the rows of its other input shards."""

    tars: list[tuple[str, Json]] = field(default_factory=list)
    others: int = 0

    def add(self, name: Name, receipt: Json) -> None:
        """Adds what the receipt of an input shard says."""
        if receipt.get("members"):  # receipts of earlier versions have none
            self.tars.append((name[1], receipt["members"]))
        else:
            self.others += receipt["rows"]

    def sum(self) -> Members | None:
        """Returns them added up, None where there are no tars; rows of Parquet beside these count as records."""
        if not self.tars:
            return None
        return added_up([*sorted(self.tars), ("", Ledger(records=self.others).to_json())])


@dataclass
class Measured:
    """The receipts of phase measure of one source, added up.

    `bad` are its quarantined rows. `captioned` is the first input shard that has a caption, `uncaptioned` are those
    that have rows and none. `damaged` says what is wrong with damaged input files.
    """

    rows: int = 0
    bad: int = 0
    missing_images: int = 0
    beyond_max_missing: int = 0
    found_images: int = 0
    reach: float = 0.0
    captioned: Name | None = None
    uncaptioned: list[Name] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    extras: set[str] = field(default_factory=set)
    damaged: list[tuple[Name, str]] = field(default_factory=list)
    ledgers: Ledgers = field(default_factory=Ledgers)

    def add(self, name: Name, receipt: Json) -> None:
        """Adds the receipt of an input shard."""
        rows = receipt["rows"]
        self.rows += rows
        if receipt["errors"]:
            self.bad += sum(receipt["errors"].values())
        self.missing_images += receipt["missing_images"]
        self.beyond_max_missing += receipt["beyond_max_missing"]
        self.found_images += receipt["found_images"]
        self.reach = max(self.reach, receipt["reach"])
        if receipt["captions"]:
            self.captioned = self.captioned or name
        elif rows:
            self.uncaptioned.append(name)
        if receipt["formats"]:
            self.formats.update(receipt["formats"])
        self.extras.update(receipt["extras"])
        self.damaged += bad_shards({name: receipt})
        self.ledgers.add(name, receipt)


def by_source(measured: Mapping[Name, Json]) -> dict[str, Measured]:
    """Returns the receipts of phase measure, added up for each source; it reads each once."""
    found: dict[str, Measured] = {}
    for name, receipt in measured.items():
        if (one := found.get(name[0])) is None:
            one = found[name[0]] = Measured()
        one.add(name, receipt)
    return found


def check_columns_agree(
    source: Source, measured: Measured, shards: Mapping[Name, InputShard], limits: ReadLimits
) -> None:
    """Raises InputError where a file has none of the caption columns that another file of the source has."""
    if measured.captioned is None:
        return
    wanted, other = source.columns.names("caption"), shards[measured.captioned]
    for shard in (shards[name] for name in measured.uncaptioned):
        names = column_names(shard, source.columns, source.storage_options, limits)
        if names is None or set(wanted) & set(names):
            continue
        others = column_names(other, source.columns, source.storage_options, limits) or []
        theirs = [name for name in wanted if name in others] or [wanted[0]]
        raise InputError(
            f"{shard} has the columns {_listed(names)}, but {other.path} has the caption in {_listed(theirs)}: "
            f"rename one, name both (columns: {{caption: [{theirs[0]}, …]}}), or make them two sources"
        )


def shown_columns(source: Source, shards: Sequence[InputShard], limits: ReadLimits) -> str:
    """The columns of a source's first file, in brackets; empty where it has none."""
    names = column_names(shards[0], source.columns, source.storage_options, limits) if shards else None
    return f" ({shards[0].path} has {_listed(names)})" if names else ""


def nothing_kept(layout: Layout, funnels: Mapping[str, Funnel], shards: Iterable[Name]) -> list[str]:
    """A sentence for each source of which no row is kept, with what became of its rows."""
    known = list(shards)
    sentences = []
    for source, funnel in funnels.items():
        if funnel.kept:
            continue
        rules = sorted(funnel.rules, key=lambda rule: -rule.dropped)
        reasons = [f"{rule.dropped:,} dropped by {rule.rule}" for rule in rules[:_SHOWN] if rule.dropped]
        if funnel.quarantined:
            mine = [shard for owner, shard in known if owner == source]
            reasons.append(f"quarantined: {commonest_errors(layout, source, mine)}")
        if funnel.rows:
            sentences.append(
                f"source {source}: none of its {funnel.rows:,} rows is kept ({'; '.join(reasons)})"
            )
        else:
            sentences.append(f"source {source} has no rows")
    return sentences


def without_samples(
    recipe: Recipe, funnels: Mapping[str, Funnel], composed: Mapping[Name, Json]
) -> list[str]:
    """Returns a sentence for each source with kept rows that became no sample: its tasks are not the recipe's."""
    made: set[str] = set()
    for name in composed:
        if name[0] not in made and composed[name]["samples"]:
            made.add(name[0])
    return [
        f"source {source}: no sample of its {funnel.kept:,} kept rows is of a task that the recipe lists "
        f"(tasks: {', '.join(recipe.tasks)})"
        for source, funnel in funnels.items()
        # rows that need no caption may have none, and then are no samples: their images may be there to be protected
        if composed and funnel.kept and source not in made and recipe.source(source).captions == "required"
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(mended(name) for name in names[:20]) + more


PAPER: Final = ("clip", *(name for name, how in HOW.items() if how == "paper" and name != "clip"))
"""The paper's rules by their names here; the one that matters most first, then in rule order."""

_MEANING: Final = {
    "clip": "clip (without a threshold on CLIP scores, captions that do not fit their images pass: docs/clip.md)"
}


def unused_rules(recipe: Recipe, shards: Iterable[InputShard]) -> Iterator[str]:
    """Yields one sentence where some of the paper's rules were off for every training source of pairs."""
    of_pairs = {shard.source for shard in shards if KINDS[shard.kind].pairs}
    sources = [
        source
        for source in recipe.sources
        if source.id in of_pairs and source.role == "train" and source.captions == "required"
    ]
    off = [rule for rule in PAPER if not any(_holds(recipe, source, rule) for source in sources)]
    if sources and off:
        listed = ", ".join(_MEANING.get(rule, rule) for rule in off)
        yield (
            f"rules of Qwen-VL's paper that no training source of pairs used: {listed}; "
            "switch them on under rules (docs/recipe.md)"
        )


def _holds(recipe: Recipe, source: Source, rule: str) -> bool:
    """Whether a rule can drop a row of the source; script goes by the languages where it names no scripts."""
    settings = recipe.rules_of(source)
    if rule == "script" and (script := settings.get(Script)):
        scripts = script.scripts
        return bool(scripts_of(recipe.languages_of(source)) if scripts is None else scripts)
    return bool(getattr(settings, rule))


HUB_A_FOLDER: Final = 10_000
HUB_FILES: Final = 100_000
HUB_BYTES: Final = 20_000_000_000
"""What the Hugging Face Hub asks for: files a folder, files a repository, bytes a file (its page on limits, 2026)."""


def beyond_hub(files: Iterable[Json], samples: int) -> Iterator[str]:
    """Yields a sentence for each limit of the Hub that a corpus passes; `samples` is the recipe's shards.samples."""
    folders = Counter[str]()
    largest: Json = {"size": 0}
    for file in files:
        folders[file["name"].rpartition("/")[0]] += 1
        largest = file if file["size"] > largest["size"] else largest
    for folder, count in sorted(folders.items()):
        if count > HUB_A_FOLDER:
            yield (
                f"{folder} has {count:,} files, and the Hugging Face Hub takes {HUB_A_FOLDER:,} a folder: "
                f"{_raised(samples, count, HUB_A_FOLDER)}"
            )
    if (total := folders.total()) > HUB_FILES:
        yield (
            f"the corpus has {total:,} files, and the Hugging Face Hub takes {HUB_FILES:,} a repository: "
            f"{_raised(samples, total, HUB_FILES)}"
        )
    if largest["size"] > HUB_BYTES:
        yield (
            f"{largest['name']} has {largest['size'] / 1e9:,.1f} GB, and the Hugging Face Hub takes "
            f"{HUB_BYTES / 1e9:,.0f} a file: to upload the corpus lower shards.samples ({samples:,} now)"
        )


def _raised(samples: int, count: int, limit: int) -> str:
    """The remedy where there are too many files; a fifth more than needed, since the size of shards varies."""
    needed = -(-samples * count * 6 // (limit * 5))
    return f"to upload it raise shards.samples ({samples:,} now) to {needed:,} or more"


_ALWAYS: Final = 10
"""So many unused images never stop a source."""

_EXAMPLES: Final = 3

_LIKELY: Final = 0.1
"""Of a source's rows, so many must look like another format before that is said of the source."""


def members_of(measured: Mapping[Name, Json]) -> dict[str, Members]:
    """Returns the ledger of each source that has tars, in the order of measure's receipts."""
    found: dict[str, Ledgers] = {}
    for name, receipt in measured.items():
        found.setdefault(name[0], Ledgers()).add(name, receipt)
    return summed(found)


def summed(ledgers: Mapping[str, Ledgers]) -> dict[str, Members]:
    """Returns the ledger of each source that has tars."""
    return {source: found for source, one in ledgers.items() if (found := one.sum()) is not None}


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


def check_measured(build: "Build") -> None:
    """Raises InputError where a source as a whole does not hold: too few sound rows, no caption, damaged shards."""
    for source in build.recipe.sources:
        measured = build.measured.get(source.id, Measured())
        shards = [shard for name, shard in build.shards.items() if name[0] == source.id]
        _check_evaluation(build, source, measured)
        _check_columns(build.recipe, source, shards, measured)
        ledger = measured.ledgers.sum()
        own = {source.id: ledger} if ledger else {}
        for sentence in notes(own):
            build.reporter.say(sentence)
        check_unused(build.recipe, own)
        rows, bad = measured.rows, measured.bad
        limit = build.recipe.max_quarantine_of(source)
        if rows and bad / rows > limit:
            raise InputError(
                f"source {source.id}: {bad:,} of {rows:,} rows ({bad / rows:.1%}) are quarantined, more than "
                f"max_quarantine {limit:g}: "
                f"{commonest_errors(build.layout, source.id, [shard.shard for shard in shards])}; see `error` "
                f"in {join(build.layout.work, 'signals', source.id)}, then mend the source or raise --max-quarantine"
            )
        if rows == bad or not source.needs_captions:
            continue
        if measured.captioned is None:
            there = shown_columns(source, shards, build.recipe.read)
            raise InputError(
                f"source {source.id}: not one of its {rows:,} rows has a caption{there}; name the caption's "
                "column (columns: {caption: …}), or say captions: none"
            )
        check_columns_agree(source, measured, build.shards, build.recipe.read)


def _check_evaluation(build: "Build", source: Source, measured: Measured) -> None:
    """Raises InputError where an evaluation source was not read: its images would go into training unseen."""
    if source.role != "eval":
        return
    damaged = [why for _, why in measured.damaged]
    if damaged or (measured.rows == measured.bad and build.recipe.sample == 1):
        lost = f"none of the {measured.rows:,} rows of source {source.id} could be measured"
        why = damaged[0] if damaged else lost
        raise InputError(
            f"{why.removesuffix('; write it again or leave it out')}: source {source.id} is an evaluation set, "
            "which must be read whole, or its images stand in training; mend it, or take it out of the recipe"
        )


def _check_columns(recipe: Recipe, source: Source, shards: Sequence[InputShard], measured: Measured) -> None:
    """Raises InputError where a column that a rule goes by has no value in any row of the source."""
    if not measured.rows:
        return
    rules = recipe.rules_of(source)
    if rules.get(Clip) and source.clip_score is not None and source.clip_score not in measured.extras:
        raise InputError(no_score(source, [shard.shard for shard in shards]))
    columns = rules.get(ColumnRules)
    for name in columns.limits if columns else ():
        if name not in measured.extras:
            raise InputError(
                f"source {source.id}: no row has a value in the column {name!r} that a rule goes by; name it as "
                "the data writes it, in columns: {extra: […]} too, or switch the rule off for this source"
            )


def no_score(source: Source, shards: Sequence[str]) -> str:
    """Returns the sentence for a source none of whose rows has the score that it should bring."""
    shown = shards[0] if len(shards) == 1 else f"{len(shards)} shards"
    return (
        f"source {source.id}: no row of {shown} has the score {source.clip_score!r}: wherever it is looked for it is "
        "null or no number; name it as the data writes it (clip_score: …, and in columns: {extra: […]})"
    )


def misread(recipe: Recipe, measured: Mapping[str, Measured]) -> list[str]:
    """Returns a sentence for each annotation source whose format, or folder of images, is likely to be another."""
    found: list[str] = []
    for source in recipe.sources:
        one = measured.get(source.id, Measured())
        found += _images_lost(source, one)
        for form, count in one.formats.most_common():
            if count >= _LIKELY * one.rows and (form not in IN_PIXELS.values() or one.reach <= GRID):
                found.append(
                    f"source {source.id}: {count:,} of its {one.rows:,} rows look like format: {form}"
                )
    return found


def _images_lost(source: Source, measured: Measured) -> Iterator[str]:
    """Yields a sentence where none of the images that rows name is there, and where documents lack too many."""
    rows, missing, beyond = measured.rows, measured.missing_images, measured.beyond_max_missing
    # an image that cannot be measured is there
    some = beyond or measured.found_images or measured.bad
    if missing >= max(1, _LIKELY * rows) and not some:
        records = f"its {rows:,} records" if missing == rows else f"{missing:,} of its {rows:,} records"
        folder = source.images or (source.path[0] if source.path else ".")
        remedy = ", or set match: basename" if source.match == "path" else ""
        yield (
            f"source {source.id}: none of the images that {records} name is in {folder} (missing_image): give the "
            f"folder of its images (images: …), below which they lie as the records name them{remedy}"
        )
    if beyond >= max(1, _LIKELY * rows):
        yield (
            f"source {source.id}: of {beyond:,} of its {rows:,} documents more images are missing than max_missing "
            f"{source.max_missing:g} allows; raise max_missing, up to 1"
        )


def all_damaged(measured: Mapping[str, Measured]) -> list[tuple[Name, str]]:
    """Returns what is wrong with the damaged input files of all sources, with the names of their shards."""
    return [one for found in measured.values() for one in found.damaged]


def tolerated(bad: Sequence[tuple[Name, str]], limit: int) -> list[str]:
    """Returns a sentence on damaged input that the recipe allows; nothing where there is none."""
    if not bad:
        return []
    return [
        f"{many(len(bad), 'damaged input file')}, which max_bad_shards {limit:,} allows: {'; '.join(damaged_text(bad))}"
    ]


def damaged_text(bad: Sequence[tuple[Name, str]]) -> list[str]:
    """Returns what is wrong with each damaged file, with the name of its shard; of many with the first ones alone."""
    named = [f"{text_of(name)}: {why}" for name, why in bad[:_NAMED]]
    return named + [f"and {len(bad) - _NAMED:,} more"] * (len(bad) > _NAMED)


def bad_shards(measured: Mapping[Name, Json]) -> list[tuple[Name, str]]:
    """Returns what is wrong with each damaged input file, with the name of its shard."""
    return [(name, why) for name, receipt in measured.items() for why in receipt.get("damaged", ())]
