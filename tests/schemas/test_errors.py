"""Sentences about what is missing."""

from schemas.errors import missing


def test_a_missing_package() -> None:
    """The sentence names the packages, a command for a checkout and one for anywhere else."""
    assert missing("the ray engine", "ray[data]") == (
        "the ray engine needs ray: run `make install` in the checkout, or pip install 'ray[data]'"
    )
    assert missing("x", "one", "two", ours=False) == "x needs one, two: pip install one two"
