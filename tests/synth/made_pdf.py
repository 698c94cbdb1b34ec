"""PDFs written by hand: pages of Helvetica text, and whatever goes wrong with pages."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sheet:
    """A page: its size in points, what is drawn on it, and more entries of its dictionary."""

    content: str
    width: float = 300
    height: float = 200
    extra: str = ""


def text(words: str, x: float, y: float, size: float = 14, mode: int = 0) -> str:
    """Operators that show `words` with the baseline's start at (x, y), in rendering mode `mode`."""
    return f"BT /F1 {size} Tf {mode} Tr {x} {y} Td ({words}) Tj ET\n"


SHIFTED = """/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /Shifted def
1 begincodespacerange <00> <ff> endcodespacerange
2 beginbfrange <41> <59> <0042> <61> <79> <0062> endbfrange
endcmap CMapName currentdict /CMap defineresource pop end end"""
"""A ToUnicode map by which each letter is said to be the next one: what is shown is not what is told."""


def lost(*codes: int) -> str:
    """Returns a ToUnicode map by which letters are said to be these characters in turn, whatever they show."""
    letters = [*range(0x41, 0x5B), *range(0x61, 0x7B)]
    told = "\n".join(f"<{letter:02x}> <{codes[at % len(codes)]:04x}>" for at, letter in enumerate(letters))
    return SHIFTED.replace(
        "2 beginbfrange <41> <59> <0042> <61> <79> <0062> endbfrange", f"52 beginbfchar {told} endbfchar"
    )


def pdf(sheets: Sequence[Sheet], to_unicode: str = "") -> bytes:
    """A whole PDF of these pages; `to_unicode` is the font's map from what is drawn to what is told."""
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(len(sheets)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(sheets)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding "
        f"{f'/ToUnicode {4 + 2 * len(sheets)} 0 R' if to_unicode else ''} >>",
    ]
    for at, sheet in enumerate(sheets):
        box = f"/MediaBox [0 0 {sheet.width} {sheet.height}]"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R {box} /Contents {5 + 2 * at} 0 R "
            f"/Resources << /Font << /F1 3 0 R >> >> {sheet.extra} >>"
        )
        objects.append(f"<< /Length {len(sheet.content)} >>\nstream\n{sheet.content}\nendstream")
    if to_unicode:
        objects.append(f"<< /Length {len(to_unicode)} >>\nstream\n{to_unicode}\nendstream")
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += "".join(f"{place:010} 00000 n \n" for place in places).encode()
    out += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF".encode()
    return bytes(out)
