"""What a filter and a rule are: plain values, which filters/table.py lists.

A filter measures columns of work/signals; a rule says from such columns which rows fail. A package of its own gives a
Filter through an entry point of the group `vlcorpus.filters` (docs/filters.md has an example).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyarrow as pa

from schemas.settings import Settings

if TYPE_CHECKING:
    from filters.picture import Picture

Columns: TypeAlias = Mapping[str, Any]
"""Arrow arrays of one length by name."""
Row: TypeAlias = Mapping[str, Any]
"""The values of one row by column."""
OfImage: TypeAlias = "Callable[[Picture], Mapping[str, Any]]"
OfBatch: TypeAlias = "Callable[[pa.RecordBatch], Columns]"


def nothing(*_: Any) -> None:
    """Returns None: the name of the rule says it all."""


def no_weights(settings: Any) -> Mapping[str, str]:
    """Returns nothing: the filter reads no file of its own."""
    return {}


@dataclass(frozen=True, eq=False)
class Rule:
    """A condition under which a row is dropped, with the rule's name as the reason.

    `settings` is the rule's block in a recipe; its docstring is the rule's line in docs/filters.md. `fails` takes
    the columns that the rule `reads` (null where nothing was measured), the settings and the languages of the source,
    and returns true for each row that fails; null passes. A mapping of such columns makes a reason NAME.KEY of each.
    Without `fails` the rule is judged where its inputs are. `says` returns, for a row that failed, what was measured
    and the limit.
    """

    name: str
    settings: type[Settings]
    reads: tuple[str, ...] = ()
    fails: Callable[[Columns, Any, Sequence[str]], Any] | None = None
    says: Callable[[Row, Any], str | None] = nothing
    on: bool = True
    """Whether a recipe that does not name the rule has it."""
    always: bool = False
    """The rule cannot be switched off."""
    after: str | None = None
    """The rule that this one follows; default: the one before it in the filter's list."""
    about: Literal["", "caption", "image", "duplicate"] = ""
    """What the rule looks at; sources whose rows are no pairs take rules by that (pipelines/sources/table.py)."""
    paper: str = ""
    """How Qwen-VL's paper (arXiv 2308.12966, appendix A.1) has the rule; empty: it is ours."""


@dataclass(frozen=True, eq=False)
class Filter:
    """What measures some columns of a row, and the rules over them.

    `image` and `batch` are called once a process with the settings. What `image` returns is called with one decoded
    image and returns its values by column; what `batch` returns is called with a record batch, in which the columns
    of earlier filters stand, and returns columns. Raising RowError quarantines a row.
    """

    name: str
    """The key of the filter's settings in the recipe's block `signals`."""
    version: int
    """To be raised when the same rows can give other values."""
    columns: Mapping[str, pa.DataType]
    """The columns that it adds to work/signals."""
    settings: type[Settings] | None = None
    """The block of its settings; None: it has none, and always runs."""
    image: Callable[[Any], OfImage] | None = None
    batch: Callable[[Any], OfBatch] | None = None
    passes: Mapping[str, pa.DataType] = field(default_factory=dict)
    """What `image` hands on to `batch` beside the columns; not written."""
    rules: tuple[Rule, ...] = ()
    libraries: tuple[str, ...] = ()
    """Distributions whose version can change a value."""
    weights: Callable[[Any], Mapping[str, str]] = no_weights
    """Given the settings, digests and versions of what else values depend on, by name."""
    places: tuple[str, ...] = ()
    """Settings that say where a file lies: `weights` says what it holds."""
    optional: bool = False
    """The filter runs in recipes that name it alone."""
    pairs_only: bool = False
    """`image` sees the images of pairs alone, no rendered or annotated ones."""
    seconds: float = 0.0
    """CPU seconds that a row may take beside resources.row_cpu_seconds."""
