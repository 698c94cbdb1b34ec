from hypothesis import given
from hypothesis import strategies as st

from pipelines.manifest import unnamed

NAMES = st.sets(st.text("ab/-", max_size=4))


@given(NAMES, NAMES)
def test_what_a_manifest_does_not_name(there: set[str], named: set[str]) -> None:
    """Of sorted names those that another sorted list lacks are found in one walk over both, in their order."""
    assert list(unnamed(sorted(there), sorted(named))) == sorted(there - named)
