"""One raw shard at work: its rows of the list, what earlier runs left of it, and the answers that have come."""

from typing import Final

import pyarrow as pa

from pipelines.engines.step import Json
from pipelines.fetch.digests import COLUMN as LISTED
from pipelines.fetch.journal import Journal
from pipelines.fetch.opt_out import OptOut
from pipelines.fetch.raw import STATUS, Images, Piece, Raw, Result, is_out, rows_of
from pipelines.fetch.statuses import BAD_ROW, DROPPED, OF_IMAGE, OK, OPTED_OUT, again
from pipelines.recipe.model import Source

_OWN: Final = ("key", "row", "url", "caption", "extra", "offset", "size", LISTED)
_ANSWER: Final = tuple(name for name in STATUS.names if name not in _OWN)
"""The columns of STATUS that an answer gives; the others are the row's own."""


def of_row(facts: Json, answer: Json) -> Json:
    """Returns an answer to a URL as that of another row with the same URL."""
    sizes = () if answer["status"] == OK else ("width", "height")
    return facts | {name: answer[name] for name in _ANSWER if name not in sizes}


def left_out(facts: Json, answer: Json) -> Json:
    """Returns the status of a row whose URL gave an image that is on an opt-out list."""
    known = {name: answer[name] for name in ("code", "bytes", "final_url", "sha256")}
    return {**facts, **known, "status": OPTED_OUT, "detail": OF_IMAGE}


class Shard:
    """One raw shard at work.

    The table has a range of the list with digests of its rows; `reasons` says which rows are not asked for, and by
    which rule. `known` are the statuses that an earlier run left.
    """

    def __init__(
        self,
        raw: Raw,
        piece: Piece,
        table: pa.Table,
        reasons: list[str | None],
        source: Source,
        opt_out: OptOut,
    ) -> None:
        self.piece, self.spool = piece, Journal(raw, piece.name)
        self.found: dict[int, Result] = {}
        self._rows: list[Json] = table.to_pylist()
        self._refused = frozenset[str]()
        self._reasons = reasons
        known = raw.known(piece.name)
        self.known = None
        if known is not None:
            self.known, self._refused = list(rows_of(known.table)), known.refused
        self._images = Images(raw, piece.name) if self.known is not None else None
        self._opt_out = opt_out
        self._gone = raw.gone(source.id, piece.name) if source.fetch.raw is None else frozenset()

    def _left(self, at: int) -> Json | None:
        """The status that an earlier run left of a row; None where it left none, or the row was another one then."""
        if self.known is None or at >= len(self.known) or self.known[at][LISTED] != self._rows[at][LISTED]:
            return None
        return self.known[at]

    @property
    def is_new(self) -> bool:
        """Whether no row of the shard is one that an earlier run left a status of."""
        return all(self._left(at) is None for at in range(len(self._rows)))

    def is_gone(self, at: int) -> bool:
        """Returns whether a row was taken out of the shard: it stays as it is, and is not asked for again."""
        left = self._left(at) if self._gone else None
        return left is not None and left["url"] is None and left["key"] in self._gone

    def rows(self) -> list[Json]:
        """Returns the rows of the list."""
        return self._rows

    def facts(self, at: int, row: Json) -> Json:
        """Returns what a row's status says before anything is asked."""
        facts: Json = dict.fromkeys(STATUS.names)
        number = self.piece.start + at
        facts |= {name: row[name] for name in ("url", "caption", "width", "height", "extra", LISTED)}
        facts |= {"key": self.piece.key(number), "row": number}
        if row["error"]:
            facts |= {"status": BAD_ROW, "detail": row["error"]}
        elif self._reasons[at] is not None:
            facts |= {"status": DROPPED, "detail": self._reasons[at]}
        return facts

    def is_whole(self, retried: bool) -> bool:
        """Returns whether an earlier run left the shard as it is to be."""
        if self.known is None or len(self.known) != len(self._rows):
            return False
        for at, row in enumerate(self.rows()):
            if self.is_gone(at):
                continue
            then, now = self._left(at), self.facts(at, row)
            if then is None:
                return False
            asked = then["status"] not in (DROPPED, BAD_ROW)
            if asked != (now["status"] is None) or (not asked and then["detail"] != now["detail"]):
                return False
            if then["status"] in self._refused or (retried and again(then["status"])):
                return False
            if self._is_covered(then) != (then["status"] == OPTED_OUT):
                return False
        return True

    def kept(self, at: int, retried: bool, fresh: Json) -> Result | None:
        """Returns what an earlier run found, None where the URL is to be asked again.

        `fresh` is what the row says before anything is asked.
        """
        place, left = None, self._left(at)
        answer, noted = self.spool.found.get(at, ({}, None))
        if left is not None and self.is_gone(at):
            return self._as_left(left)
        if answer.get(LISTED) == fresh[LISTED]:
            facts, place = fresh | answer, noted
        elif left is not None and left["status"] not in self._refused:
            facts = dict(left)
        else:
            return None
        by = self._opt_out.covers(facts)
        if by == "image" or (by is None and is_out(facts, self._opt_out)):
            return Result(left_out(fresh, facts))
        if facts["status"] == OPTED_OUT or by == "url":
            return None
        if facts["status"] == OK:
            return self._as_left(facts) if place is None else Result(facts, place)
        if facts["status"] == DROPPED or (retried and again(facts["status"])):
            return None
        return Result(facts)

    def _is_covered(self, then: Json) -> bool:
        """Whether the URL of a row that an earlier run left, or its image, is on an opt-out list now."""
        return self._opt_out.covers(then) is not None or is_out(then, self._opt_out)

    def _as_left(self, left: Json) -> Result | None:
        """A row as an earlier run left it; None where its image is damaged or lost."""
        if left["status"] != OK:
            return Result(dict(left))
        assert self._images is not None
        image = self._images.read(left)
        return None if image is None else Result(dict(left), self.spool.add(image))

    def noted(self, at: int, facts: Json, image: bytes | None) -> Result:
        """Returns what became of a row, which a run that is killed finds again."""
        return Result(facts, self.spool.note(at, {name: facts[name] for name in (LISTED, *_ANSWER)}, image))

    def results(self) -> list[Result]:
        """Returns what became of the rows, in their order."""
        return [self.found[at] for at in range(len(self._rows))]

    def close(self) -> None:
        """Lets the images go."""
        self.spool.close()
        if self._images is not None:
            self._images.close()
