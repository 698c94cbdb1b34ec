import doctest
from pathlib import Path

from pipelines.datasets.reasons import REASONS
from pipelines.datasets.table import DATA_SETS
from schemas.dialects import __path__ as dialects

DOC = Path(__file__).parents[3] / "docs/samples.md"


def test_the_page_lists_every_reason_data_set_and_dialect() -> None:
    """Each name that a person may meet is explained."""
    text = DOC.read_text(encoding="utf-8")
    assert [name for name in REASONS if f"| `{name}` | {REASONS[name]} |" not in text] == []
    assert [name for name in DATA_SETS if f"`{name}`" not in text] == []
    modules = {path.stem for path in Path(dialects[0]).glob("*.py")} - {"__init__", "dialogue", "spelling"}
    assert [name for name in sorted(modules) if f"| `{name}` |" not in text] == []


def test_the_page_s_examples_run() -> None:
    """What the page shows is what the code does."""
    result = doctest.testfile(str(DOC), module_relative=False)
    assert (result.failed, result.attempted > 5) == (0, True)
