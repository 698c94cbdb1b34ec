"""What knows what: imports point one way, and heavy libraries load only where they are used."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
FOLDERS = ("filters", "model", "pipelines", "schemas", "synth")
HEAVY = ("torch", "ray", "apache_beam", "open_clip", "transformers", "playwright")


def modules(folder: str) -> list[str]:
    """All modules below a folder, by their dotted names."""
    found = []
    for path in sorted((HOUSE / folder).rglob("*.py")):
        name = path.relative_to(HOUSE).with_suffix("").as_posix().replace("/", ".")
        found.append(name.removesuffix(".__init__"))
    return found


def loaded_by(names: list[str]) -> set[str]:
    """Which of the heavy libraries a fresh process has loaded once it has imported all of `names`."""
    lines = "".join(f"import {name}\n" for name in names)
    code = f"{lines}import sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("folder", ["filters", "schemas"])
def test_light_folders(folder: str) -> None:
    """Importing every filter or schema loads neither torch nor an engine."""
    assert loaded_by(modules(folder)) == set()


def test_the_command_is_light() -> None:
    """What a build on this machine imports loads no engine but its own, and no torch."""
    assert (
        loaded_by(["pipelines.cli", "pipelines.build", "pipelines.engines.local", "pipelines.engines.child"])
        == set()
    )


def test_one_function_opens_parquet() -> None:
    """Every Parquet file of pipelines and model is opened where page checksums are compared."""
    for folder in ("model", "pipelines", "schemas"):
        for path in (HOUSE / folder).rglob("*.py"):
            text = path.read_text()
            if path != HOUSE / "schemas" / "parquet.py":
                assert "ParquetFile(" not in text, path
                assert "read_metadata(" not in text, path
                assert "pq.read_table(" not in text, path


def test_only_the_engines_name_them() -> None:
    """No module but those of pipelines/engines imports ray or apache_beam (Ray Train's entry lies there too)."""
    for folder in FOLDERS:
        for path in (HOUSE / folder).rglob("*.py"):
            lines = [line.split() for line in path.read_text().splitlines()]
            named = {
                words[1].partition(".")[0]
                for words in lines
                if words[:1] in (["import"], ["from"]) and words[1:]
            }
            if path.parent != HOUSE / "pipelines" / "engines":
                assert not named & {"ray", "apache_beam"}, path


def test_the_checkout_is_what_is_imported(tmp_path: Path) -> None:
    """An editable installation keeps no copy of the module beside the packages: what is edited is what runs."""
    code = "import vlcorpus, pipelines; print(vlcorpus.__file__, pipelines.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.split() == [str(HOUSE / "vlcorpus.py"), str(HOUSE / "pipelines" / "__init__.py")]


def test_nobody_else_has_our_names() -> None:
    """No other installed distribution claims one of the five names of our packages."""
    owners = importlib.metadata.packages_distributions()
    for folder in FOLDERS:
        assert set(owners.get(folder, [])) <= {"vlcorpus"}, folder
