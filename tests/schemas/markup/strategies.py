"""hypothesis strategies for samples that can be written as markup, rich in what could be misread."""

from hypothesis import strategies as st

from schemas.sample import ROLES, Box, Example, Image, ImageRef, Phrase, Segment, Text, Turn

_SPELLING = [
    *("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>", "<"),
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|extra_7|>", "\\", "<\\", "<\\ref>", "<\\\\box>"),
    *("<re", "f>", "im_end|>", "<|", "/img>", " ", "  ", "\n", "(1,2),(3,4)", "Picture 1: ", "Picture 2: "),
    *(" Answer:", " is", "This", "assistant\n", "Generate the caption in English:", "OCR with grounding:"),
    *("you", "一只猫", "e\u0301", "\u0338", "\U0001f600", "You are a helpful assistant."),
]
words = st.one_of(
    st.lists(st.sampled_from(_SPELLING), max_size=6).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
pictures = st.builds(Image, st.just("JPEG"), st.integers(1, 2000), st.integers(1, 2000), st.just("0" * 64))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """A box with an extent, which may leave its image."""
    x1, y1 = draw(st.integers(-50, 2000)), draw(st.floats(-50, 2000))
    return x1, y1, x1 + draw(st.floats(0.02, 900)), y1 + draw(st.integers(1, 900))


corners = st.tuples(st.integers(-9, 2000), st.floats(-9, 2000))
quads = st.tuples(corners, corners, corners, corners)
texts = st.builds(Text, words, st.booleans())


def phrases(regions: bool) -> st.SearchStrategy[Phrase]:
    """Phrases, with boxes and quads or without."""
    if not regions:
        return st.builds(Phrase, words, supervised=st.booleans())
    return st.builds(
        Phrase,
        words,
        st.lists(boxes(), max_size=2).map(tuple),
        st.lists(quads, max_size=2).map(tuple),
        st.booleans(),
    )


@st.composite
def _turns(draw: st.DrawFn, shown: int) -> tuple[Turn, ...]:
    seen = False
    turns = []
    for role in draw(st.lists(st.sampled_from(ROLES), max_size=4)):
        segments: list[Segment] = []
        for _ in range(draw(st.integers(0, 5))):
            kinds: list[st.SearchStrategy[Segment]] = [texts, phrases(regions=seen)]
            if shown:
                kinds.append(st.builds(ImageRef, st.integers(0, shown - 1)))
            segments.append(draw(st.one_of(kinds)))
            seen = seen or isinstance(segments[-1], ImageRef)
        turns.append(Turn(role, tuple(segments)))
    return tuple(turns)


@st.composite
def samples(draw: st.DrawFn) -> Example:
    """Any sample of no template's task whose regions have an image and an extent."""
    images = tuple(draw(st.lists(pictures, max_size=3)))
    turns = draw(_turns(len(images)))
    return sample(images, turns)


def sample(
    images: tuple[Image, ...], turns: tuple[Turn, ...], task: str = "chat", language: str = "en"
) -> Example:
    """A sample of those images and turns."""
    return Example("k", task, "train", language, "s", "l", images, turns)


@st.composite
def templated(draw: st.DrawFn) -> Example:
    """Any sample that fits the template of its task."""
    task = draw(
        st.sampled_from(["caption", "vqa", "grounding", "referring", "grounded_caption", "ocr", "text"])
    )
    images = tuple(draw(st.lists(pictures, min_size=task != "text", max_size=task != "text")))
    shown = tuple(ImageRef(i) for i in range(len(images)))
    taught = st.builds(Text, words.filter(bool), st.just(True))
    regions = st.builds(
        Phrase,
        words,
        st.lists(boxes(), min_size=1, max_size=3).map(tuple),
        st.lists(quads, max_size=1).map(tuple),
        st.just(True),
    )
    asked = st.builds(Text, words.filter(bool), st.just(False))
    target = {
        "caption": st.tuples(taught),
        "text": st.tuples(taught),
        "vqa": st.tuples(asked, taught) | st.tuples(asked, regions),
        "referring": st.tuples(regions),
        "grounded_caption": st.tuples(regions),
        "grounding": st.lists(taught | regions, min_size=1, max_size=5).map(tuple),
        "ocr": st.lists(taught | regions, min_size=1, max_size=5).map(tuple),
    }
    segments = (*shown, *draw(target[task]))
    return sample(images, (Turn("document", segments),), task, draw(st.sampled_from(["en", "zh", "xx"])))
