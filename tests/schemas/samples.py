"""hypothesis strategies for samples."""

from hypothesis import strategies as st

from schemas.sample import ROLES, Image, ImageRef, Phrase, Sample, Text, Turn, View

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
coordinates = st.integers(-5, 10_000) | st.floats(-5, 10_000, allow_nan=False)
boxes = st.tuples(*[coordinates] * 4)
quads = st.tuples(*[st.tuples(coordinates, coordinates)] * 4)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
keys = st.from_regex(r"[A-Za-z0-9_-]{1,90}", fullmatch=True)
images = st.builds(
    Image,
    st.sampled_from(["JPEG", "PNG", "WEBP"]),
    st.integers(1, 9),
    st.integers(1, 9),
    digests,
    digests,
    st.none() | words,
)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Any sample that the schema admits."""
    shown = tuple(draw(st.lists(images, max_size=3)))
    views = st.lists(_views(len(shown)), min_size=1, max_size=3).map(tuple)
    return Sample(draw(keys), draw(words), draw(words), shown, draw(views))


def _views(shown: int) -> st.SearchStrategy[View]:
    kinds = [
        st.builds(Text, words, st.booleans()),
        st.builds(
            Phrase, words, st.lists(boxes, max_size=2).map(tuple), st.lists(quads, max_size=2).map(tuple)
        ),
    ]
    if shown:
        kinds.append(st.builds(ImageRef, st.integers(0, shown - 1)))
    segments = st.lists(st.one_of(kinds), max_size=4).map(tuple)
    turns = st.lists(st.builds(Turn, st.sampled_from(ROLES), segments), max_size=3).map(tuple)
    own = st.none() | words
    return st.builds(View, keys, words, words, words, turns, own, own)
