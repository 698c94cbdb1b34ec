"""Values that are kept in segments, held against a plain dict."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.files import Store
from pipelines.layout import Layout
from pipelines.segments import Segments
from schemas.errors import OutputError


def opened(folder: str | Path, run: str = "0") -> Segments:
    """What lies in a folder, as a new process reads it."""
    layout = Layout(str(folder), run)
    return Segments(layout, layout.at("kept"), [path.name for path in files(folder)], lambda *_: None)


def files(folder: str | Path) -> list[Path]:
    return sorted(Path(folder, "kept").glob("*"))


def content(segments: Segments) -> dict[str, bytes]:
    return dict(segments.values)


class Killed(BaseException):
    """The process has ended: nothing catches this."""


@contextmanager
def killed_after(calls: int) -> Iterator[None]:
    """Ends the process at one of its calls that change the store; nothing changes it afterwards."""
    left = calls

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def method(*given: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real(*given, **more)

        return method

    with (
        mock.patch.object(Store, "write_bytes", counted(Store.write_bytes)),
        mock.patch.object(Store, "remove", counted(Store.remove)),
    ):
        yield


NAMES = st.sampled_from(["a", "b", "web/ü", 'c"\t\n', "d\udce9"])
VALUES = st.sampled_from([b"1", b"2\t[]\t{}", '"ü"'.encode()])
FEW_NAMES = st.sampled_from(["a", "b", "c"])
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.dictionaries(FEW_NAMES, VALUES, min_size=1, max_size=2)),
        st.tuples(st.just("remove"), st.sets(FEW_NAMES, min_size=1, max_size=1)),
        st.tuples(st.just("merge"), st.none()),
        st.tuples(st.just("open"), st.none()),
    ),
    min_size=4,
    max_size=12,
)


def changed(model: dict[str, bytes], what: str, given: Any) -> dict[str, bytes]:
    """What a dict holds after a change."""
    if what == "set":
        return model | given
    if what == "remove":
        return {name: value for name, value in model.items() if name not in given}
    return model


def run(folder: str, changes: Any, calls: int) -> tuple[dict[str, bytes], dict[str, bytes], bool]:
    """Makes changes, and is killed at a call to the store: what a dict held before and after the last; how it ended."""
    kept, before, model = opened(folder), dict[str, bytes](), dict[str, bytes]()
    try:
        with killed_after(calls):
            for number, (what, given) in enumerate(changes):
                before, model = model, changed(model, what, given)
                if what == "open":
                    kept = opened(folder, str(number))
                elif what == "merge":
                    kept.merge()
                else:
                    getattr(kept, what)(given)
                assert content(kept) == model
    except Killed:
        return before, model, True
    return model, model, False


@settings(max_examples=40)
@given(CHANGES, st.integers(3, 5), st.integers(1, 2))
def test_any_changes_and_a_kill_leave_what_a_dict_holds(changes: Any, full: int, few: int) -> None:
    """Killed at whatever call to the store, the values are those before or after the change that was under way."""
    sizes = {"FULL": full, "MANY": full + 1, "FEW": few}
    with ExitStack() as stack:
        for name, value in sizes.items():
            stack.enter_context(mock.patch(f"pipelines.segments.{name}", value))
        calls, killed = 0, True
        while killed:
            with tempfile.TemporaryDirectory() as folder:
                *either, killed = run(folder, changes, calls)
                found = opened(folder, "later")
                left = content(found)
                assert left in either, (calls, either)
                found.merge()
                assert content(opened(folder)) == left
            calls += 1


@given(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=12), st.data())
def test_a_damaged_segment_takes_its_own_values_only(written: Any, data: st.DataObject) -> None:
    """A bit that flips, or an end that is cut, loses what that segment says; the file is named."""
    with tempfile.TemporaryDirectory() as folder:
        kept = opened(folder)
        for name, value in written:
            kept.set({name: value})
        which = data.draw(st.integers(0, len(written) - 1))
        path = files(folder)[which]
        body = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(body) - 1))
        if data.draw(st.booleans()):
            body[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del body[at:]
        path.write_bytes(body)
        found = opened(folder)
        assert found.damaged == [str(path)]
        assert content(found) == dict(one for at, one in enumerate(written) if at != which)
        found.remove_damaged()
        assert opened(folder).damaged == []


def test_many_values_lie_in_few_files(tmp_path: Path) -> None:
    """Ten thousand values set one by one, of which some go, lie in three files; a last change adds one."""
    kept = opened(tmp_path)
    with mock.patch("pipelines.segments.PAUSE", 0.01), kept.gathering():
        for number in range(10_000):
            kept.set({f"web/{number:05d}": b"%d" % number})
        kept.remove([f"web/{number:05d}" for number in range(0, 10_000, 10)])
    kept.merge()
    assert len(files(tmp_path)) <= 3 + 2
    found = opened(tmp_path)
    assert len(found.values) == 9_000
    assert found.values["web/09999"] == b"9999"
    assert "web/00010" not in found.values
    before = len(files(tmp_path))
    found.set({"web/00010": b"again"})
    found.merge()
    assert len(files(tmp_path)) <= before + 1


def test_values_that_change_again_and_again_do_not_pile_up(tmp_path: Path) -> None:
    """The files hold at most twice as many lines as there are values, and one segment's."""
    with mock.patch("pipelines.segments.FULL", 20):
        kept = opened(tmp_path)
        for turn in range(30):
            kept.set({f"{number}": b"%d" % turn for number in range(50)})
            kept.merge()
            lines = sum(path.read_bytes().count(b"\n") for path in files(tmp_path))
            assert lines <= 2 * 50 + 20 + 50


def test_what_is_gathered_lies_there_a_moment_later(tmp_path: Path) -> None:
    """While tasks run, a value is on the disk soon after it was set, though no other follows."""
    kept, written = opened(tmp_path), threading.Event()
    real = Store.write_bytes

    def told(*given: Any, **more: Any) -> None:
        real(*given, **more)
        written.set()

    with mock.patch.object(Store, "write_bytes", told), kept.gathering():
        kept.set({"a": b"1"})
        assert written.wait(20)
        assert content(opened(tmp_path)) == {"a": b"1"}
        kept.set({"b": b"2"})
    assert content(opened(tmp_path)) == {"a": b"1", "b": b"2"}


def test_what_is_removed_is_gone_at_once(tmp_path: Path) -> None:
    """A removal does not wait for what is gathered: the output that it vouched for is about to be overwritten."""
    kept = opened(tmp_path)
    kept.set({"a": b"1", "b": b"1"})
    with mock.patch("pipelines.segments.PAUSE", 20), kept.gathering():
        kept.set({"c": b"1"})
        kept.remove(["a"])
        assert content(opened(tmp_path)) == {"b": b"1", "c": b"1"}


def test_what_was_gathered_is_kept_where_a_phase_breaks_off(tmp_path: Path) -> None:
    """An error within leaves what was set before it."""
    kept = opened(tmp_path)
    with suppress(ZeroDivisionError), kept.gathering():
        kept.set({"a": b"1"})
        raise ZeroDivisionError
    assert content(opened(tmp_path)) == {"a": b"1"}


def test_a_disk_that_is_full_while_values_are_gathered(tmp_path: Path) -> None:
    """The failure is raised, at the latest when gathering ends."""
    kept = opened(tmp_path)
    with mock.patch.object(Store, "write_bytes", side_effect=OutputError("full")):
        with pytest.raises(OutputError, match="full"), kept.gathering():
            kept.set({"a": b"1"})
        with mock.patch("pipelines.segments.PAUSE", 0), pytest.raises(OutputError, match="full"):
            set_for_ever(kept)


def set_for_ever(kept: Segments) -> None:
    """Sets a value again and again while values are gathered."""
    with kept.gathering():
        while True:
            kept.set({"a": b"1"})


def test_segments_that_another_process_merges_meanwhile(tmp_path: Path) -> None:
    """A reader whose listing is old lists again."""
    kept = opened(tmp_path)
    for number in range(9):
        kept.set({f"{number}": b"1"})
    old = [path.name for path in files(tmp_path)]
    kept.merge()
    assert len(files(tmp_path)) == 1
    layout = Layout(str(tmp_path))
    found = Segments(layout, layout.at("kept"), old, lambda *_: None)
    assert len(found.values) == 9


def test_two_runs_on_an_object_store(tmp_path: Path) -> None:
    """Where no lock keeps a second run away, neither overwrites what the other wrote."""
    one, other = opened(tmp_path, "one"), opened(tmp_path, "other")
    one.set({"a": b"1"})
    other.set({"b": b"2"})
    one.set({"c": b"3"})
    assert content(opened(tmp_path)) == {"a": b"1", "b": b"2", "c": b"3"}
