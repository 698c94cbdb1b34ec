"""Values of installed packages: which is found, and the sentence where none is."""

import sys
from pathlib import Path

import pytest

from schemas.errors import RecipeError
from schemas.plugins import find, lookup, names
from tests.packages import install, use

GROUP = "vlcorpus.tests"
POINTS = f"[{GROUP}]\nnumber = acme_numbers:NUMBER\n"


def numbers(
    folder: Path, text: str = "NUMBER = 7\n", version: str = "1.0", package: str = "acme-numbers"
) -> Path:
    """A package with one value."""
    return install(folder, package, version, {"acme_numbers.py": text}, POINTS)


def test_a_value_is_found_with_the_package_that_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name, package, version, and a digest of the source that is the same wherever the package lies."""
    use(monkeypatch, numbers(tmp_path / "a"))
    value, plugin = find(GROUP, "number", int)
    assert (value, plugin.name, plugin.package, plugin.version) == (7, "number", "acme-numbers", "1.0")
    use(monkeypatch, numbers(tmp_path / "b"))
    assert find(GROUP, "number", int)[1] == plugin
    use(monkeypatch, numbers(tmp_path / "c", "NUMBER = 3 + 4\n"))
    assert find(GROUP, "number", int)[1].digest != plugin.digest


def test_the_digest_covers_the_files_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another module, and data beside the modules, change it."""
    digests = set()
    for place, (helper, words) in enumerate([("N = 1\n", "a"), ("N = 2\n", "a"), ("N = 1\n", "b")]):
        modules = {"acme/__init__.py": "", "acme/made.py": "from acme.helper import N\n"}
        modules |= {"acme/helper.py": helper, "acme/words.txt": words}
        folder = install(tmp_path / str(place), "acme", "1.0", modules, f"[{GROUP}]\nn = acme.made:N\n")
        use(monkeypatch, folder)
        digests.add(find(GROUP, "n", int)[1].digest)
    assert len(digests) == 3


def test_names_are_known_without_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not asked for is not imported, so one that is broken stops nothing else."""
    use(monkeypatch, numbers(tmp_path, "raise RuntimeError\n"))
    assert names(GROUP) == ("number",)
    assert lookup(GROUP, "one", {"one": 1}, int) == (1, None)
    assert "acme_numbers" not in sys.modules


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1 / 0\n", r"'number' of the package acme-numbers 1\.0 .* cannot be imported: ZeroDivisionError: "),
        ("import sys\nsys.exit(3)\n", r"cannot be imported: SystemExit: 3"),
        ("import acme_nowhere\n", r"cannot be imported: ModuleNotFoundError: No module named 'acme_nowhere'"),
        ("raise ValueError('two\\nlines')\n", r"cannot be imported: ValueError: two lines$"),
        ("OTHER = 7\n", r"cannot be imported: AttributeError: .*NUMBER"),
        ("NUMBER = '7'\n", r"'number' of the package acme-numbers 1\.0 .* is a str, not a builtins\.int"),
    ],
)
def test_a_broken_package_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    """What it raises at import, and a value of another type, are told with the package's name and version."""
    use(monkeypatch, numbers(tmp_path, text))
    with pytest.raises(RecipeError, match=sentence):
        find(GROUP, "number", int)


def test_a_name_is_given_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packages with one name, and a package with a name of ours, are refused by their names."""
    use(monkeypatch, numbers(tmp_path / "a"))
    with pytest.raises(
        RecipeError, match=r"acme-numbers 1\.0 gives 'number' .* a name of ours: uninstall it"
    ):
        lookup(GROUP, "number", {"number": 1}, int)
    use(monkeypatch, numbers(tmp_path / "b", package="other"))
    with pytest.raises(RecipeError, match=r"acme-numbers 1\.0 and other 1\.0 both give 'number'"):
        lookup(GROUP, "number", {}, int)


def test_an_unknown_name_has_its_nearest_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest of our names and of installed ones, all that are known, and where others come from."""
    use(monkeypatch, numbers(tmp_path))
    sentence = r"'nunber' is unknown here; did you mean number\? known are one, number; .* in vlcorpus\.tests"
    with pytest.raises(RecipeError, match=sentence):
        lookup(GROUP, "nunber", {"one": 1}, int)
    with pytest.raises(RecipeError, match="install the package with that entry point"):
        find("vlcorpus.nothing", "x", int)
