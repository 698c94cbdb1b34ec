"""German."""

from synth.words.language import Language, Noun

_ARTICLES = {"m": "ein", "f": "eine", "n": "ein"}
_ENDINGS = {"m": "er", "f": "e", "n": "es"}
_NUMBERS = {2: "zwei", 3: "drei", 4: "vier"}
_SIZES = {"small": "klein", "large": "groß"}
_COLOURS = {
    "red": "rot", "orange": "orangefarben", "yellow": "gelb", "green": "grün", "blue": "blau",
    "purple": "violett", "pink": "rosafarben", "brown": "braun", "black": "schwarz", "white": "weiß",
    "grey": "grau",
}  # fmt: skip
_SHAPES = {
    "circle": ("m", "Kreis", "Kreise"),
    "square": ("n", "Quadrat", "Quadrate"),
    "triangle": ("n", "Dreieck", "Dreiecke"),
    "star": ("m", "Stern", "Sterne"),
    "heart": ("n", "Herz", "Herzen"),
    "cross": ("n", "Kreuz", "Kreuze"),
    "ring": ("m", "Ring", "Ringe"),
    "diamond": ("f", "Raute", "Rauten"),
    "crescent": ("f", "Mondsichel", "Mondsicheln"),
    "hexagon": ("n", "Sechseck", "Sechsecke"),
}


def noun(said: Noun) -> str:
    """`roter Kreis`, `ein kleiner roter Kreis`, `zwei rote Kreise`."""
    gender, one, many = _SHAPES[said.shape]
    ending = "e" if said.count > 1 else _ENDINGS[gender]
    adjectives = [_SIZES.get(said.size or ""), _COLOURS[said.colour]]
    words = " ".join(stem + ending for stem in adjectives if stem)
    if said.count > 1:
        return f"{_NUMBERS[said.count]} {words} {many}"
    return f"{words} {one}" if said.count == 0 else f"{_ARTICLES[gender]} {words} {one}"


GERMAN = Language(
    code="de",
    noun=noun,
    lists=("{things}", "auf dem Bild zu sehen: {things}", "im Bild sind zu erkennen: {things}"),
    grounded=("{things} {ground}", "zu sehen: {things} {ground}"),
    left=("links {a}, rechts {b}", "auf der linken Seite {a}, auf der rechten Seite {b}"),
    above=("oben {a}, unten {b}", "oben im Bild {a}, darunter {b}"),
    counted="{total}: {things}",
    totals={2: "zwei Formen", 3: "drei Formen", 4: "vier Formen"},
    grounds={
        "gradient": "vor einem sanften Farbverlauf",
        "stripes": "vor gestreiftem Hintergrund",
        "checks": "vor kariertem Hintergrund",
        "dots": "vor gepunktetem Hintergrund",
        "clouds": "vor fleckigem Hintergrund",
        "photo": "auf einer Fotografie",
    },
    last=" und ",
)
