import os
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.datasets.refcoco import load_pickle
from schemas.errors import ShardError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3) | st.tuples(inner)
    ),
    max_leaves=10,
)


class Hostile:
    """Runs a command when it is unpickled the ordinary way."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("false",)


@settings(deadline=None)
@given(plain, st.sampled_from([0, 1, 2, 3, 4, 5]))
def test_plain_containers_come_back(value: object, protocol: int) -> None:
    """Lists, dicts, tuples, texts and numbers are read from every protocol."""
    data = pickle.dumps(value, protocol)
    if protocol < 3 and (b"_codecs" in data or b"__builtin__" in data):
        return  # old protocols have no bytes but by a call, which is refused
    assert load_pickle(data, "refs") == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [{"a": x}]])
def test_a_program_is_refused_with_a_sentence(protocol: int, wrap: Any) -> None:
    """Whatever could call something is refused before any of it runs, and the sentence names the file."""
    with pytest.raises(ShardError, match=r"refs is a pickle with the instruction .* which could run code"):
        load_pickle(pickle.dumps(wrap(Hostile()), protocol), "refs")


@pytest.mark.parametrize(
    "value", [os.system, object(), {1, 2}, bytearray(b"x"), complex(1, 2), ValueError("x")]
)
def test_other_objects_are_refused(value: object) -> None:
    """Sets, classes, functions and exceptions are no plain containers."""
    with pytest.raises(ShardError, match="which could run code"):
        load_pickle(pickle.dumps(value, 2) if not isinstance(value, set) else pickle.dumps(value, 4), "refs")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"garbage",
        b"\x80\x02]q",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x80\x02r\xff\xff\xff\xff.",
        b"\x80\x02]r\xff\xff\xff\x7f.",
        b"I" + b"9" * 10_000 + b"\n.",
        b"\x80\x02h\x07.",
        b"(lp0\nI1\nau.",
        b"\x80\x02}(K\x01K\x02K\x03u.",
        b"\x80\x02}]K\x01s.",
        b"]" * 200_000,
        b"(lpxyz\n.",
        b"\x80\x02T\xff\xff\xff\xff.",
        b"\x80\x02]r\x00\x00\x00\x10.",
    ],
)
def test_damage_is_a_sentence(data: bytes) -> None:
    """Truncated, empty, nonsensical or greedy pickles are errors that name the file."""
    with pytest.raises(ShardError, match="refs is a"):
        load_pickle(data, "refs")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60).map(lambda tail: b"\x80\x02" + tail + b"."))
def test_random_bytes_are_plain_or_refused(data: bytes) -> None:
    """No bytes raise anything else, and nothing that is not plain comes out."""
    try:
        value = load_pickle(data, "refs")
    except ShardError:
        return
    assert isinstance(value, list | dict | tuple | str | bytes | int | float | type(None))


def test_python_2_texts_are_latin_1() -> None:
    """Byte strings of the published files become text."""
    assert load_pickle(b"(dp0\nS'caf\\xe9'\np1\nI1\ns.", "refs") == {"café": 1}
