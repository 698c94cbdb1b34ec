import doctest
from pathlib import Path

from pipelines.datasets.reasons import REASONS
from pipelines.datasets.table import DATASETS
from schemas.dialects import __path__ as dialects
from schemas.sample import TASKS

DOC = Path(__file__).parents[3] / "docs/samples.md"


def test_the_page_lists_every_reason_dataset_task_and_dialect() -> None:
    """Each name that a person may meet is explained."""
    text = DOC.read_text(encoding="utf-8")
    assert [name for name in REASONS if f"| `{name}` | {REASONS[name]} |" not in text] == []
    rows = [
        f"| `{name}` | {one.published} | {one.unit} | {', '.join(one.tasks)} |".replace("*", r"\*")
        for name, one in DATASETS.items()
    ]
    assert "\n".join(rows) in text, "the table of docs/samples.md must be:\n" + "\n".join(rows)
    assert [name for name in TASKS if f"`{name}`" not in text] == []
    modules = {path.stem for path in Path(dialects[0]).glob("*.py")} - {"__init__", "dialogue", "spelling"}
    assert [name for name in sorted(modules) if f"| `{name}` |" not in text] == []


def test_the_page_s_examples_run() -> None:
    """What the page shows is what the code does."""
    result = doctest.testfile(str(DOC), module_relative=False)
    assert (result.failed, result.attempted > 5) == (0, True)
