"""Public lists of images, by name: how each is written, and what its columns are called."""

from dataclasses import dataclass
from typing import Final

Names = tuple[str, ...]


@dataclass(frozen=True)
class ListFormat:
    """How a list is written.

    `header` names the columns of a file without a header; `parallel` means one JSON object with an array a column. The
    other fields name columns, in the order in which they are tried.
    """

    url: Names = ("url", "URL", "image_url")
    caption: Names = ("caption", "TEXT", "text", "txt")
    width: Names = ("width", "WIDTH", "original_width")
    height: Names = ("height", "HEIGHT", "original_height")
    sha256: Names = ("sha256",)
    md5: Names = ("md5",)
    phash: Names = ("phash", "image_phash")
    header: Names = ()
    parallel: bool = False


_LAION: Final = ListFormat(url=("URL",), caption=("TEXT",), width=("WIDTH",), height=("HEIGHT",))

LISTS: Final = {
    "laion-2b-en": _LAION,
    "laion-2b-multi": _LAION,
    "laion-2b-joined": _LAION,
    "laion-zh": _LAION,
    "laion-coco": ListFormat(url=("URL",), caption=("top_caption",), width=("WIDTH",), height=("HEIGHT",)),
    "coyo-700m": ListFormat(
        url=("url",), caption=("text",), width=("width",), height=("height",), phash=("image_phash",)
    ),
    "datacomp": ListFormat(
        url=("url",),
        caption=("text",),
        width=("original_width",),
        height=("original_height",),
        sha256=("sha256",),
    ),
    "cc12m": ListFormat(url=("url",), caption=("caption",), header=("url", "caption")),
    "cc3m": ListFormat(url=("url",), caption=("caption",), header=("caption", "url")),
    "sbu": ListFormat(url=("image_urls",), caption=("captions",), parallel=True),
    "wit": ListFormat(
        url=("image_url",),
        caption=(
            "caption_reference_description",
            "caption_alt_text_description",
            "caption_attribution_description",
        ),
        width=("original_width",),
        height=("original_height",),
    ),
}
ANY: Final = ListFormat()
"""What is tried where no list is named."""
