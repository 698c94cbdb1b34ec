"""PDF pages with their text and its places, by pdfium.

A document is untrusted: this runs in a process that may be killed, and what takes time or memory
without end is that process's matter. Everything else ends in RowError or PageFailure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
import pypdfium2  # type: ignore[import-untyped]

from schemas.errors import RowError
from synth.documents import DocumentPage, PageFailure
from synth.pdf_text import Placing, characters, lines

_POINTS: Final = 72
_REASONS: Final = {4: "the PDF is encrypted", 2: "not found", 3: "not a PDF, or damaged beyond repair"}


@dataclass(frozen=True, slots=True)
class PdfLimits:
    """Bytes a document, pages read of it, dots an inch, the longer side and characters of a page."""

    max_bytes: int = 100 << 20
    max_pages: int = 200
    dpi: int = 144
    max_side: int = 3000
    min_dpi: int = 48
    max_characters: int = 20_000
    quality: int = 90


def pdf_pages(data: bytes, limits: PdfLimits | None = None) -> Iterator[DocumentPage | PageFailure]:
    """The pages of a PDF, each rendered or a PageFailure, in order.

    Raises RowError for what is no PDF, encrypted, without pages or too large. A document with more
    pages than the limit ends with one PageFailure that says so.
    """
    limits = limits or PdfLimits()
    document = _opened(data, limits)
    try:
        total = len(document)
        if not total:
            raise RowError("undecodable", "the PDF has no pages")
        for number in range(min(total, limits.max_pages)):
            yield _page(document, number, limits)
        if total > limits.max_pages:
            message = f"{total} pages, more than {limits.max_pages}: the rest is left out"
            yield PageFailure(limits.max_pages, "too_large", message)
    finally:
        document.close()


def _opened(data: bytes, limits: PdfLimits) -> Any:
    if not data:
        raise RowError("empty", "the PDF has no bytes")
    if len(data) > limits.max_bytes:
        raise RowError("too_large", f"{len(data)} bytes, more than {limits.max_bytes}")
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        code = getattr(error, "err_code", None)
        raise RowError("undecodable", _REASONS.get(code or 0, f"pdfium: {error}")) from error


def _page(document: Any, number: int, limits: PdfLimits) -> DocumentPage | PageFailure:
    try:
        page = document[number]
    except pypdfium2.PdfiumError as error:
        return PageFailure(number, "undecodable", f"pdfium: {error}")
    try:
        return _rendered(page, number, limits)
    except pypdfium2.PdfiumError as error:
        return PageFailure(number, "undecodable", f"pdfium: {error}")
    finally:
        page.close()


def _rendered(page: Any, number: int, limits: PdfLimits) -> DocumentPage | PageFailure:
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        return PageFailure(number, "undecodable", f"a page of {width} x {height} points")
    scale = min(limits.dpi / _POINTS, limits.max_side / max(width, height))
    if scale < limits.min_dpi / _POINTS:
        inches = max(width, height) / _POINTS
        message = f"{inches:.0f} inches long: within {limits.max_side} pixels no text could be read"
        return PageFailure(number, "too_many_pixels", message)
    # annotations and forms are not in the text layer, so they are not in the picture either
    bitmap = page.render(scale=scale, rev_byteorder=True, draw_annots=False, may_draw_forms=False)
    image = bitmap.to_pil().convert("RGB")
    grey = np.asarray(image.convert("L"))
    textpage = page.get_textpage()
    try:
        placing = Placing(page.raw, image.width, image.height)
        chars, hidden = characters(textpage, placing, limits.max_characters)
    finally:
        textpage.close()
    told, left_out = lines(chars, grey)
    if hidden:
        left_out["hidden_characters"] = hidden
    out = BytesIO()
    image.save(out, "JPEG", quality=limits.quality)
    return DocumentPage(
        number, out.getvalue(), image.width, image.height, tuple(told), dict(sorted(left_out.items()))
    )
