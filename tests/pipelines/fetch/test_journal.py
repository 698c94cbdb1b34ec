"""What came of an unfinished shard is found again, up to where the process was killed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.fetch.journal import Journal
from pipelines.fetch.raw import UNFINISHED, Raw
from pipelines.layout import Layout


def _raw(folder: Path, valid: str = "v") -> Raw:
    return Raw(Layout(str(folder)), str(folder), valid)


Answers = list[tuple[str, bytes | None]]
ANSWERS = st.lists(st.tuples(st.text(max_size=9), st.none() | st.binary(max_size=50)), max_size=5)


def _written(folder: Path, answers: Answers) -> Path:
    """A journal of these answers; where it lies."""
    journal = Journal(_raw(folder), "one")
    for row, (text, image) in enumerate(answers):
        journal.note(row, {"status": text, "sha256": None if image is None else "x"}, image)
    journal.close()
    return folder / UNFINISHED / "one.journal"


@given(ANSWERS, st.integers(0, 400))
def test_a_journal_that_was_cut_off(
    tmp_path_factory: pytest.TempPathFactory, answers: Answers, cut: int
) -> None:
    """Every answer that is whole is found again with its image, and the journal goes on behind the last of them."""
    folder = tmp_path_factory.mktemp("journal")
    path = _written(folder, answers)
    if not answers:
        assert not path.exists()
        return
    whole = path.read_bytes()
    path.write_bytes(whole[: max(len(whole) - cut, 0)])
    again = Journal(_raw(folder), "one")
    found = len(again.found)
    assert found == len(answers) if cut == 0 else found <= len(answers)
    place = again.note(99, {"status": "later", "sha256": "x"}, b"later")
    assert place is not None
    for row, (text, image) in enumerate(answers[:found]):
        facts, kept = again.found[row]
        assert facts["status"] == text
        assert (None if kept is None else again.read(*kept)) == image
    assert again.read(*place) == b"later"
    again.close()
    third = Journal(_raw(folder), "one")
    assert sorted(third.found) == [*range(found), 99]
    third.remove()
    third.close()
    assert not path.exists()


@given(ANSWERS.filter(bool), st.integers(0, 10**6), st.integers(1, 600), st.integers(0, 300))
def test_a_machine_that_lost_its_power(
    tmp_path_factory: pytest.TempPathFactory, answers: Answers, first: int, size: int, grown: int
) -> None:
    """Zeros in the place of what was written, or behind it, cost the answers from there on, and no other is wrong."""
    folder = tmp_path_factory.mktemp("journal")
    path = _written(folder, answers)
    data = bytearray(path.read_bytes())
    first %= len(data)
    data[first : first + size] = bytes(size)
    path.write_bytes(bytes(data) + bytes(grown))
    again = Journal(_raw(folder), "one")
    for row, (facts, place) in again.found.items():
        text, image = answers[row]
        assert facts["status"] == text
        assert (None if place is None else again.read(*place)) == image
    assert again.note(99, {"status": "later", "sha256": None}, None) is None
    again.close()
    third = Journal(_raw(folder), "one")
    assert {*third.found} == {*again.found, 99}
    third.close()


def test_other_settings(tmp_path: Path) -> None:
    """A journal of other settings is begun anew."""
    first = Journal(_raw(tmp_path), "one")
    first.note(1, {"status": "ok", "sha256": None}, None)
    first.close()
    second = Journal(_raw(tmp_path, "w"), "one")
    assert second.found == {}
    second.close()
