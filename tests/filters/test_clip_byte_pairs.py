"""Tokens of captions, against open_clip's own tokenizer."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters.clip.embedded import BytePairs
from filters.clip.source import FOLDER, MERGES
from tests.filters.clips import embedded_tokenizer

CONTEXT = 56

SAID = st.lists(
    st.one_of(
        st.sampled_from(
            ["a red circle", "蓝色的圆形", "it's", "&amp;lt;", "ÃƒÂ©", "<start_of_text>", "\n", "12½"]
        ),
        st.text(),
    ),
    max_size=30,
).map(" ".join)
"""Words of the scorer's own captions, markup, damaged text, its special tokens, and anything else."""


@pytest.fixture(scope="module")
def ours() -> BytePairs:
    return BytePairs(FOLDER / MERGES, CONTEXT)


@settings(deadline=None, max_examples=400)
@given(SAID)
@example("<START_OF_TEXT><end_of_text>!!<start_of_text>")
@example("İstanbul ǅ ﬁn ß Σς ａｂｃ ️ \x00 \u2028 \ufeff")
@example("aaaaaaa " * 40)
def test_tokens_are_open_clips(ours: BytePairs, caption: str) -> None:
    """Any text has the tokens that open_clip gives it, cut and padded alike."""
    tokens, _ = ours([caption])
    assert tokens.tolist() == embedded_tokenizer()([caption]).tolist()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 80))
def test_captions_that_were_cut_are_flagged(ours: BytePairs, words: int) -> None:
    """A caption is flagged exactly when start, end and its words do not fit into the context."""
    _, cut = ours(["red"] * 2 + [" ".join(["red"] * words)])
    assert cut.tolist() == [False, False, words + 2 > CONTEXT]
