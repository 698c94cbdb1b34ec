"""English."""

from synth.words.language import Language, Noun

_NUMBERS = {2: "two", 3: "three", 4: "four"}


def noun(said: Noun) -> str:
    """`red circle`, `a small red circle`, `two red circles`."""
    words = " ".join(word for word in (said.size, said.colour, said.shape) if word)
    if said.count == 0:
        return words
    if said.count == 1:
        return ("an " if words[0] in "aeiou" else "a ") + words
    return f"{_NUMBERS[said.count]} {words}" + ("es" if words.endswith("s") else "s")


ENGLISH = Language(
    code="en",
    noun=noun,
    lists=(
        "{things}",
        "a picture of {things}",
        "this picture shows {things}",
        "a drawing with {things} in it",
    ),
    grounded=("{things} {ground}", "a picture of {things} {ground}", "we can see {things} {ground}"),
    left=("{a} to the left of {b}", "{b} to the right of {a}", "on the left {a} and on the right {b}"),
    above=("{a} above {b}", "{b} below {a}", "at the top {a} and at the bottom {b}"),
    counted="{total}: {things}",
    totals={2: "two shapes", 3: "three shapes", 4: "four shapes"},
    grounds={
        "gradient": "on a smooth background",
        "stripes": "on a striped background",
        "checks": "on a checked background",
        "dots": "on a dotted background",
        "clouds": "on a blotchy background",
        "photo": "on top of a photograph",
    },
    photos=("{thing}", "a photo of {thing}", "this picture shows {thing}"),
)
