"""docs/samples.md. Its tables of datasets and reasons are written anew by

python -m tests.pipelines.datasets.test_docs
"""

import doctest
from pathlib import Path

import pytest

from pipelines.datasets.reasons import REASONS
from pipelines.datasets.table import DATASETS
from schemas.dialects import __path__ as dialects
from schemas.sample import TASKS

DOC = Path(__file__).parents[3] / "docs/samples.md"

TABLES = {
    "| name | files | a record is | tasks |\n|---|---|---|---|\n": [
        f"| `{name}` | {one.published} | {one.unit} | {', '.join(one.tasks)} |".replace("*", r"\*")
        for name, one in DATASETS.items()
    ],
    "| reason | meaning |\n|---|---|\n": [f"| `{name}` | {meaning} |" for name, meaning in REASONS.items()],
}
"""By its head, the rows of each table that follows from code."""


def rewritten(text: str) -> str:
    """The page with the rows that its tables should have."""
    for head, rows in TABLES.items():
        before, _, rest = text.partition(head)
        assert rest, head
        text = before + head + "\n".join(rows) + rest[rest.index("\n\n") :]
    return text


def test_the_tables_are_those_of_the_code() -> None:
    """Each dataset and each reason that a person may meet is explained, in the words of the code."""
    text = DOC.read_text(encoding="utf-8")
    assert text == rewritten(text), "write the tables anew (see above)"


@pytest.mark.parametrize("kind", ["task", "dialect"])
def test_the_page_names_every(kind: str) -> None:
    """Tasks and dialects stand in tables of their own words."""
    modules = {path.stem for path in Path(dialects[0]).glob("*.py")} - {"__init__", "dialogue", "spelling"}
    text = DOC.read_text(encoding="utf-8")
    assert [
        name for name in sorted({"task": set(TASKS), "dialect": modules}[kind]) if f"`{name}`" not in text
    ] == []


def test_the_page_s_examples_run() -> None:
    """What the page shows is what the code does."""
    result = doctest.testfile(str(DOC), module_relative=False)
    assert (result.failed, result.attempted > 5) == (0, True)


if __name__ == "__main__":
    DOC.write_text(rewritten(DOC.read_text(encoding="utf-8")), encoding="utf-8")
