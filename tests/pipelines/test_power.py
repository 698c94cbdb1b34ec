"""What was built outlives a loss of power, or is built again; `make chaos` cuts the power more often."""

from pathlib import Path

from tests.damage import Corpora
from tests.power import Crashes


def test_the_power_goes_and_the_next_build_ends_well(tmp_path: Path) -> None:
    """Wherever the power goes, a manifest that counts as finished is true, and the next build ends as a calm one."""
    crashes = Crashes(Corpora(tmp_path), seed=1)
    for number in range(3):
        crashes.crash(number)
    assert crashes.counts.total() == 3
