"""The Levenshtein distance, which the reading of pages and the evaluation of a model both count by."""


def edits(first: str, second: str) -> int:
    """Returns the fewest letters put in, taken out or changed.

    By bit vectors (Myers 1999, Hyyrö 2003): linear in the longer text.
    """
    if not first:
        return len(second)
    places: dict[str, int] = {}
    for at, char in enumerate(first):
        places[char] = places.get(char, 0) | 1 << at
    whole, last = (1 << len(first)) - 1, 1 << (len(first) - 1)
    plus, minus, distance = whole, 0, len(first)
    for char in second:
        match = places.get(char, 0)
        diagonal = (((match & plus) + plus) ^ plus) | match | minus
        up, down = minus | ~(diagonal | plus) & whole, plus & diagonal
        distance += bool(up & last) - bool(down & last)
        up, down = up << 1 | 1, down << 1
        plus, minus = (down | ~(diagonal | up)) & whole, up & diagonal
    return distance
