from contextlib import suppress
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.markup import (
    STAGE2,
    MarkupError,
    Style,
    canonical,
    escape,
    parse,
    parse_lenient,
    render,
    unescape,
)
from schemas.markup.tags import TAG, escape_run, unescape_cut
from schemas.sample import Example, Turn
from tests.schemas.markup.strategies import samples, templated, words


def sizes(sample: Example) -> list[tuple[int, int]]:
    return [(image.width, image.height) for image in sample.images]


def again(sample: Example, style: Style = STAGE2) -> tuple[Turn, ...]:
    made = render(sample, style)
    return parse(made.text, sizes(sample), loss=made.loss, task=made.task, style=style).turns


@settings(max_examples=300, deadline=None)
@given(samples())
def test_reading_what_was_written_gives_the_sample_back(sample: Example) -> None:
    """parse(render(x)) is x to the coordinate grid, whatever words it holds, spelled tags included."""
    assert again(sample) == canonical(sample)


@settings(max_examples=300, deadline=None)
@given(templated())
def test_every_template_is_taken_off_again(sample: Example) -> None:
    """A sample written by its task's template comes back without a word of the template."""
    assert again(sample) == canonical(sample)


@settings(max_examples=200, deadline=None)
@given(samples() | templated())
def test_writing_again_gives_the_same_text(sample: Example) -> None:
    """What was read is written as it was, where a cell is wider than the rounding of coordinates."""
    made = render(sample)
    if any(min(size) < 50 for size in sizes(sample)):
        return
    turns = parse(made.text, sizes(sample), loss=made.loss, task=made.task).turns
    copy = replace(sample, turns=turns)
    if [turn.role for turn in turns] == [turn.role for turn in sample.turns]:
        assert render(copy).text == made.text


@settings(max_examples=200, deadline=None)
@given(templated())
def test_the_templates_rule_gives_the_loss(sample: Example) -> None:
    """Without the spans the template's own rule finds them, but where a question spells ` Answer:`."""
    made = render(sample)
    if made.text.count(" Answer:") > 1 or (sample.task == "ocr" and "</quad>" not in made.text):
        return
    assert parse(made.text, sizes(sample), task=sample.task).turns == canonical(sample)


@settings(deadline=None)
@given(samples() | templated())
def test_loss_and_pieces_agree(sample: Example) -> None:
    """Spans ascend and never touch, no image carries loss, and the pieces spell the text."""
    made = render(sample)
    assert all(a[1] < b[0] for a, b in zip(made.loss, made.loss[1:], strict=False))
    assert all(0 <= a < b <= len(made.text) for a, b in made.loss)
    for place in made.images:
        assert made.text[place.start : place.end].startswith("<img>")
        assert not any(a < place.end and place.start < b for a, b in made.loss)
    assert unescape(made.text) == "".join(
        unescape(p.text) if p.kind == "image" else p.text for p in made.pieces
    )
    tags = [piece.text for piece in made.pieces if piece.kind == "tag"]
    shown = [tag for piece in made.pieces if piece.kind == "image" for tag in ("<img>", "</img>")]
    assert sorted(TAG.findall(made.text)) == sorted(tags + shown)


@settings(deadline=None)
@given(words)
def test_escaped_text_spells_no_tag_and_comes_back(text: str) -> None:
    """Escaping leaves no tag, changes nothing else, and is undone exactly."""
    assert TAG.search(escape(text)) is None
    assert unescape(escape(text)) == text
    assert escape(text) == text or TAG.search(text.replace("\\", ""))


@settings(deadline=None)
@given(st.lists(words, max_size=5))
def test_a_run_is_escaped_as_one(parts: list[str]) -> None:
    """A tag that begins in one part and ends in the next is escaped, and the cuts are found again."""
    written = escape_run(parts)
    assert "".join(written) == escape("".join(parts))
    cuts = [sum(map(len, written[: i + 1])) for i in range(len(written) - 1)]
    assert unescape_cut("".join(written), cuts) == (parts or [""])


@settings(max_examples=300, deadline=None)
@given(words, st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), max_size=2))
def test_any_text_is_read_leniently_and_parsed_or_refused(text: str, shown: list[tuple[int, int]]) -> None:
    """The lenient reader never raises; the strict one raises its own error alone."""
    read = parse_lenient(text, shown)
    assert all(0 <= one.start <= one.end <= len(text) and one.message for one in read.problems)
    with suppress(MarkupError):
        assert all(isinstance(turn, Turn) for turn in parse(text, shown).turns)
