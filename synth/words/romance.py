"""Spanish and French: adjectives agree in gender and number."""

from synth.words.language import Language, Noun

# masculine, feminine, masculine plural, feminine plural
_Forms = tuple[str, str, str, str]
_Shape = tuple[str, str, str]

_ES_COLOURS: dict[str, _Forms] = {
    "red": ("rojo", "roja", "rojos", "rojas"),
    "orange": ("naranja", "naranja", "naranjas", "naranjas"),
    "yellow": ("amarillo", "amarilla", "amarillos", "amarillas"),
    "green": ("verde", "verde", "verdes", "verdes"),
    "blue": ("azul", "azul", "azules", "azules"),
    "purple": ("morado", "morada", "morados", "moradas"),
    "pink": ("rosa", "rosa", "rosas", "rosas"),
    "brown": ("marrón", "marrón", "marrones", "marrones"),
    "black": ("negro", "negra", "negros", "negras"),
    "white": ("blanco", "blanca", "blancos", "blancas"),
    "grey": ("gris", "gris", "grises", "grises"),
}
_ES_SHAPES: dict[str, _Shape] = {
    "circle": ("m", "círculo", "círculos"),
    "square": ("m", "cuadrado", "cuadrados"),
    "triangle": ("m", "triángulo", "triángulos"),
    "star": ("f", "estrella", "estrellas"),
    "heart": ("m", "corazón", "corazones"),
    "cross": ("f", "cruz", "cruces"),
    "ring": ("m", "anillo", "anillos"),
    "diamond": ("m", "rombo", "rombos"),
    "crescent": ("f", "media luna", "medias lunas"),
    "hexagon": ("m", "hexágono", "hexágonos"),
}
_ES_SIZES: dict[str, _Forms] = {
    "small": ("pequeño", "pequeña", "pequeños", "pequeñas"),
    "large": ("grande", "grande", "grandes", "grandes"),
}
_FR_COLOURS: dict[str, _Forms] = {
    "red": ("rouge", "rouge", "rouges", "rouges"),
    "orange": ("orange", "orange", "orange", "orange"),
    "yellow": ("jaune", "jaune", "jaunes", "jaunes"),
    "green": ("vert", "verte", "verts", "vertes"),
    "blue": ("bleu", "bleue", "bleus", "bleues"),
    "purple": ("violet", "violette", "violets", "violettes"),
    "pink": ("rose", "rose", "roses", "roses"),
    "brown": ("marron", "marron", "marron", "marron"),
    "black": ("noir", "noire", "noirs", "noires"),
    "white": ("blanc", "blanche", "blancs", "blanches"),
    "grey": ("gris", "grise", "gris", "grises"),
}
_FR_SHAPES: dict[str, _Shape] = {
    "circle": ("m", "cercle", "cercles"),
    "square": ("m", "carré", "carrés"),
    "triangle": ("m", "triangle", "triangles"),
    "star": ("f", "étoile", "étoiles"),
    "heart": ("m", "cœur", "cœurs"),
    "cross": ("f", "croix", "croix"),
    "ring": ("m", "anneau", "anneaux"),
    "diamond": ("m", "losange", "losanges"),
    "crescent": ("m", "croissant de lune", "croissants de lune"),
    "hexagon": ("m", "hexagone", "hexagones"),
}
_FR_SIZES: dict[str, _Forms] = {
    "small": ("petit", "petite", "petits", "petites"),
    "large": ("grand", "grande", "grands", "grandes"),
}


def _form(forms: _Forms | None, gender: str, count: int) -> str:
    return forms[(gender == "f") + 2 * (count > 1)] if forms else ""


def _words(*words: str) -> str:
    return " ".join(word for word in words if word)


def spanish_noun(said: Noun) -> str:
    """`círculo rojo`, `un círculo rojo pequeño`, `dos estrellas rojas`."""
    gender, one, many = _ES_SHAPES[said.shape]
    number = {0: "", 1: "una" if gender == "f" else "un", 2: "dos", 3: "tres", 4: "cuatro"}[said.count]
    colour = _form(_ES_COLOURS[said.colour], gender, said.count)
    size = _form(_ES_SIZES.get(said.size or ""), gender, said.count)
    return _words(number, many if said.count > 1 else one, colour, size)


def french_noun(said: Noun) -> str:
    """`cercle rouge`, `un petit cercle rouge`, `deux étoiles rouges`."""
    gender, one, many = _FR_SHAPES[said.shape]
    number = {0: "", 1: "une" if gender == "f" else "un", 2: "deux", 3: "trois", 4: "quatre"}[said.count]
    colour = _form(_FR_COLOURS[said.colour], gender, said.count)
    size = _form(_FR_SIZES.get(said.size or ""), gender, said.count)
    return _words(number, size, many if said.count > 1 else one, colour)


SPANISH = Language(
    code="es",
    noun=spanish_noun,
    lists=("{things}", "en esta imagen hay {things}", "un dibujo con {things}"),
    grounded=("{things} {ground}", "un dibujo con {things} {ground}"),
    left=("{a} a la izquierda de {b}", "{b} a la derecha de {a}", "a la izquierda {a} y a la derecha {b}"),
    above=("{a} encima de {b}", "{b} debajo de {a}", "arriba {a} y abajo {b}"),
    counted="{total}: {things}",
    totals={2: "dos figuras", 3: "tres figuras", 4: "cuatro figuras"},
    grounds={
        "gradient": "sobre un fondo degradado",
        "stripes": "sobre un fondo de rayas",
        "checks": "sobre un fondo de cuadros",
        "dots": "sobre un fondo de lunares",
        "clouds": "sobre un fondo con manchas",
        "photo": "sobre una fotografía",
    },
    last=" y ",
)

FRENCH = Language(
    code="fr",
    noun=french_noun,
    lists=("{things}", "sur cette image on voit {things}", "un dessin avec {things}"),
    grounded=("{things} {ground}", "on voit {things} {ground}"),
    left=("{a} à gauche et {b} à droite", "à gauche, {a} et à droite, {b}"),
    above=("{a} en haut et {b} en bas", "en haut, {a} et en bas, {b}"),
    counted="{total} : {things}",
    totals={2: "deux formes", 3: "trois formes", 4: "quatre formes"},
    grounds={
        "gradient": "sur un fond dégradé",
        "stripes": "sur un fond rayé",
        "checks": "sur un fond à carreaux",
        "dots": "sur un fond à pois",
        "clouds": "sur un fond tacheté",
        "photo": "sur une photographie",
    },
    last=" et ",
)
