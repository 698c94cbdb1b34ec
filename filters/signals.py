"""Every signal of rows: the filters of a recipe, made once a process, over one image and over a batch."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from filters.arrow import Column
from filters.filter import Filter
from filters.picture import Pictures, PictureSettings
from filters.table import SignalSettings
from schemas.doing import doing
from schemas.errors import InputError, RowError


class Measurer:
    """The filters of a recipe; where columns are asked for, those up to the last that gives one of them."""

    def __init__(self, settings: SignalSettings, asked: Collection[str] | None = None) -> None:
        running = settings.running()
        if asked is not None:
            # each filter may read the columns of those before it
            last = max(
                place for place, (one, _) in enumerate(running) if not one.columns.keys().isdisjoint(asked)
            )
            running = running[: last + 1]
        self.schema = settings.schema
        self.pictures = Pictures(settings[PictureSettings])
        self._images = [(one, one.image(block)) for one, block in running if one.image is not None]
        self._batches = [(one, one.batch(block)) for one, block in running if one.batch is not None]
        self._passed = {name: kind for one, _ in running for name, kind in one.passes.items()}
        self._owners = {name: one for one, _ in running for name in (*one.columns, *one.passes)}

    def image(self, data: bytes | None, *, pair: bool) -> dict[str, Any]:
        """The values that filters give for one image, by column. Raises RowError where it cannot be measured.

        `pair`: it is the image of a pair, and no annotated or rendered one.
        """
        with doing("the decoder"):
            picture = self.pictures.open(data)
        found: dict[str, Any] = {}
        for one, measure in self._images:
            if pair or not one.pairs_only:
                with _named(one):
                    values = measure(picture)
                _check_names(one, values)
                found |= values
        return found

    def table(self, records: Sequence[Mapping[str, Any]]) -> pa.Table:
        """The records, with what `image` gave, as rows of work/signals, with the columns that batches give."""
        kinds = {field.name: field.type for field in self.schema} | self._passed
        given = {name for record in records for name in record}
        columns = {
            name: self._array(name, [record.get(name) for record in records], kinds[name])
            for name in kinds
            if name in given or name not in self._owners
        }
        return self.measured(columns, len(records))

    def measured(self, given: Mapping[str, Column], rows: int) -> pa.Table:
        """The columns given of so many rows, as rows of work/signals, with the columns that batches give."""
        kinds = {field.name: field.type for field in self.schema} | self._passed
        columns = {name: pa.nulls(rows, kind) for name, kind in kinds.items()} | dict(given)
        for one, measure in self._batches:
            batch = pa.RecordBatch.from_pydict({name: columns[name] for name in kinds})
            with _named(one):
                found = measure(batch)
            _check_names(one, found)
            for name, column in found.items():
                _check(one, name, column, rows)
            columns |= found
        return pa.Table.from_arrays([columns[name] for name in self.schema.names], schema=self.schema)

    def _array(self, name: str, values: list[Any], kind: pa.DataType) -> pa.Array:
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, OverflowError) as error:
            one = self._owners.get(name)
            if one is None:
                raise
            raise InputError(
                f"the filter {one.name} gives for {name} a value that is no {kind}: {error}"
            ) from error


def _check_names(one: Filter, found: Mapping[str, Any]) -> None:
    """Raises InputError for a column that the filter does not declare."""
    for name in found:
        if name not in one.columns and name not in one.passes:
            raise InputError(f"the filter {one.name} gives {name}, which is none of its columns")


def _check(one: Filter, name: str, column: Any, rows: int) -> None:
    """Raises InputError for a column of another type or length than the filter declares."""
    kind = one.columns.get(name, one.passes.get(name))
    if not isinstance(column, pa.Array) or column.type != kind:
        what = column.type if isinstance(column, pa.Array) else type(column).__name__
        raise InputError(f"the filter {one.name} gives {name} as {what}, but declares {kind}")
    if len(column) != rows:
        raise InputError(f"the filter {one.name} gives {len(column)} values of {name} for {rows} rows")


@contextmanager
def _named(one: Filter) -> Iterator[None]:
    """A block in which an error that is no row's is the filter's, and says so."""
    what = f"the filter {one.name}"
    try:
        with doing(what):
            yield
    except (RowError, MemoryError):
        raise
    except Exception as error:
        error.add_note(f"in {what}")
        raise
