"""The words and pictures of an HTML page, in order."""

import re
from collections.abc import Container
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipelines.datasets.built import Picture
from pipelines.datasets.interleave import Block
from pipelines.datasets.local_names import local_name
from pipelines.datasets.reasons import Refusal, Refused

MAX_BYTES: Final = 32 * 1024 * 1024
_SKIPPED: Final = frozenset(
    (
        *("head", "script", "style", "noscript", "template", "iframe", "object", "embed", "svg", "math"),
        *("canvas", "video", "audio", "button", "select", "option", "textarea", "nav", "footer", "dialog"),
    )
)
_INLINE: Final = frozenset(
    (
        *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data"),
        *("del", "dfn", "em", "font", "i", "ins", "kbd", "label", "mark", "q"),
        *("rp", "rt", "ruby", "s", "samp", "small", "span", "strike", "strong", "sub"),
        *("sup", "time", "tt", "u", "var", "wbr", "img", "picture", "source", "input"),
        *("-text", "td", "th"),
    )
)
_CHARSET: Final = re.compile(rb"charset\s*=\s*[\"']?\s*([A-Za-z0-9_-]{3,20})", re.IGNORECASE)
_ENCODINGS: Final = re.compile(
    r"utf-?8|us-ascii|gbk|gb2312|gb18030|big5(-hkscs)?|(shift|x)[-_]s?jis|euc-(jp|kr|cn)|koi8-[ru]|"
    r"iso-8859-\d{1,2}|(windows-|cp)125\d|latin-?1"
)


def blocks(page: bytes, files: Container[str]) -> tuple[list[Block], list[Refusal], str]:
    """Paragraphs and pictures of the page in order, pictures that cannot be used, and the page's language.

    `files` are the names below the page's folder. Refused `too_large` beyond the limit.
    """
    if len(page) > MAX_BYTES:
        raise Refused("too_large", f"a page of {len(page)} bytes")
    tree = LexborHTMLParser(decoded(page))
    walk = _Walk(files)
    if tree.body is not None:
        walk.over(tree.body)
    root = tree.root
    language = (root.attributes.get("lang") or "") if root is not None else ""
    return walk.blocks, walk.lost, language.split("-")[0].strip().lower()


def decoded(page: bytes) -> str:
    """The page's characters, by its byte order mark or the charset that it names; else UTF-8."""
    if page.startswith((b"\xff\xfe", b"\xfe\xff")):
        return page.decode("utf-16", "replace")
    match = _CHARSET.search(page, 0, 4096)
    name = match[1].decode().lower() if match else "utf-8"
    # others of Python's codecs are not for pages, and some take quadratic time
    return page.decode(name if _ENCODINGS.fullmatch(name) else "utf-8", "replace").removeprefix("\ufeff")


class _Walk:
    """Collects words until a block element ends, without recursion: pages nest as deep as they like."""

    def __init__(self, files: Container[str]) -> None:
        self.blocks: list[Block] = []
        self.lost: list[Refusal] = []
        self._files = files
        self._words: list[str] = []
        self._verbatim = 0

    def over(self, root: LexborNode) -> None:
        stack: list[tuple[LexborNode, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                self._leave(node.tag or "")
            elif node.tag == "-text":
                self._words.append(node.text_content or "")
            elif not _unseen(node):
                self._enter(node)
                stack.append((node, True))
                stack += [(child, False) for child in reversed(list(node.iter(include_text=True)))]
        self._end()

    def _enter(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "img":
            self._picture(node)
        elif tag == "pre":
            self._end()
            self._verbatim += 1
        elif tag not in _INLINE:
            self._end()

    def _leave(self, tag: str) -> None:
        if tag == "pre":
            self._end()
            self._verbatim -= 1
        elif tag in ("td", "th"):
            self._words.append(" ")
        elif tag not in _INLINE:
            self._end()

    def _end(self) -> None:
        words = "".join(self._words)
        text = words.strip("\n") if self._verbatim else " ".join(words.split())
        if text.strip():
            self.blocks.append(text)
        self._words = []

    def _picture(self, node: LexborNode) -> None:
        attributes = node.attributes
        # a page that loads pictures late has a placeholder in src
        source = attributes.get("data-src") or attributes.get("src") or ""
        try:
            name = local_name(source)
            if name not in self._files:
                raise Refused("missing_image", name[:200])
        except Refused as error:
            self.lost.append(error.refusal)
            return
        self._end()
        self.blocks.append(Picture(name))


def _unseen(node: LexborNode) -> bool:
    tag = node.tag or ""
    if tag in _SKIPPED or tag.startswith(("-", "!")):
        return True
    attributes = node.attributes
    style = (attributes.get("style") or "").replace(" ", "").lower()
    return "hidden" in attributes or attributes.get("aria-hidden") == "true" or "display:none" in style
