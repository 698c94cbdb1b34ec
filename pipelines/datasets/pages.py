"""Saved pages: HTML and Markdown files with images in their own folder, read as words and images in order."""

import posixpath
import re
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipelines.datasets.dataset import Dataset, Made, Record
from pipelines.datasets.drafts import NamedImage, label
from pipelines.datasets.interleaved import Block, interleaved
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.files import Store, local_path

MAX_FILES: Final = 100_000
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_MARKDOWN: Final = 4 * 1024 * 1024
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
_MARKDOWN: Final = MarkdownIt("commonmark").enable("table")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def page_records(folder: Path) -> Iterator[Record]:
    """Returns one record a page below `folder`, in order of path, which names it; with the files it may show.

    A page may show files in its own folder and below; links that lead out of it are not followed.
    """
    beside: dict[Path, frozenset[str]] = {}
    for path in sorted(folder.rglob("*"), key=lambda one: one.relative_to(folder).as_posix()):
        if path.suffix.lower() not in _READERS or not path.is_file():
            continue
        member = path.relative_to(folder).as_posix()
        try:
            if path.parent not in beside:
                beside[path.parent] = _files(path.parent)
            page = _read(path, folder)
        except Refused as error:
            yield Record(member, {}, error.refusal)
            continue
        base = path.parent.relative_to(folder).as_posix()
        own = {"page": page, "suffix": path.suffix.lower(), "files": beside[path.parent], "base": base}
        yield Record(member, own)


def _make(value: Mapping[str, Any]) -> Made:
    """Returns one sample of a page, or several where it is long; images are named from the records' folder."""
    blocks, lost, language = _READERS[value["suffix"]](value["page"], value["files"])
    base = value["base"]
    placed = [
        one._replace(name=posixpath.normpath(f"{base}/{one.name}")) if isinstance(one, NamedImage) else one
        for one in blocks
    ]
    return interleaved(placed, label(language), lost), lost


def _read(path: Path, folder: Path) -> bytes:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise Refused("outside_image", "the page is a link that leads out of the folder")
    if path.stat().st_size > MAX_BYTES:
        raise Refused("too_large", f"a page of {path.stat().st_size} bytes")
    return path.read_bytes()


def _files(folder: Path) -> frozenset[str]:
    """Names of the files in and below `folder` that really lie there."""
    root = folder.resolve()
    names = set()
    for path in folder.rglob("*"):
        if path.is_file() and path.resolve().is_relative_to(root):
            names.add(path.relative_to(folder).as_posix())
            if len(names) > MAX_FILES:
                raise Refused("too_large", f"more than {MAX_FILES} files beside a page")
    return frozenset(names)


def html_blocks(page: bytes, files: Container[str]) -> tuple[list[Block], list[Refusal], str]:
    """Returns paragraphs and images of the page in order, images that cannot be used, and the page's language.

    `files` are the names below the page's folder. Refused `too_large` beyond the limit.
    """
    if len(page) > MAX_BYTES:
        raise Refused("too_large", f"a page of {len(page)} bytes")
    tree = LexborHTMLParser(_decoded(page))
    walk = _Walk(files)
    if tree.body is not None:
        walk.over(tree.body)
    root = tree.root
    language = (root.attributes.get("lang") or "") if root is not None else ""
    return walk.blocks, walk.lost, language.split("-")[0].strip().lower()


def _decoded(page: bytes) -> str:
    """Returns the page's characters, by its byte order mark or the charset that it names; else UTF-8."""
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
            self._image(node)
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

    def _image(self, node: LexborNode) -> None:
        attributes = node.attributes
        # a page that loads images late has a placeholder in src
        source = attributes.get("data-src") or attributes.get("src") or ""
        try:
            image = _shown(source, self._files)
        except Refused as error:
            self.lost.append(error.refusal)
        else:
            self._end()
            self.blocks.append(image)


def _unseen(node: LexborNode) -> bool:
    tag = node.tag or ""
    if tag in _SKIPPED or tag.startswith(("-", "!")):
        return True
    attributes = node.attributes
    style = (attributes.get("style") or "").replace(" ", "").lower()
    return "hidden" in attributes or attributes.get("aria-hidden") == "true" or "display:none" in style


def markdown_blocks(page: bytes, files: Container[str]) -> tuple[list[Block], list[Refusal], str]:
    """Returns paragraphs and images in order, images that cannot be used, and no language.

    HTML inside is read as HTML. `files` are the names below the text's folder.
    """
    if len(page) > MAX_MARKDOWN:
        raise Refused("too_large", f"a text of {len(page)} bytes")
    read: list[Block] = []
    lost: list[Refusal] = []
    for token in _MARKDOWN.parse(page.decode("utf-8", "replace").removeprefix("\ufeff")):
        if token.type == "inline":
            read += _inline(token, files, lost)
        elif token.type in ("fence", "code_block"):
            read.append(token.content.rstrip("\n"))
        elif token.type == "html_block":
            inner, gone, _ = html_blocks(token.content.encode("utf-8", "replace"), files)
            read += inner
            lost += gone
    return [block for block in read if isinstance(block, NamedImage) or block.strip()], lost, ""


def _inline(token: Token, files: Container[str], lost: list[Refusal]) -> Iterator[Block]:
    words: list[str] = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            words.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            words.append("\n")
        elif child.type == "image" or (child.type == "html_inline" and child.content[:4].lower() == "<img"):
            found = list(_images(child, files, lost))
            if found:
                yield "".join(words).strip()
                words = []
                yield from found
    yield "".join(words).strip()


def _images(token: Token, files: Container[str], lost: list[Refusal]) -> Iterator[Block]:
    if token.type == "html_inline":
        inner, gone, _ = html_blocks(token.content.encode("utf-8", "replace"), files)
        lost += gone
        yield from inner
        return
    try:
        yield _shown(str(token.attrs.get("src", "")), files)
    except Refused as error:
        lost.append(error.refusal)


def _shown(reference: str, files: Container[str]) -> NamedImage:
    name = local_name(reference)
    if name not in files:
        raise Refused("missing_image", name[:200])
    return NamedImage(name)


def local_name(reference: str) -> str:
    """Returns the path of a page's image below the page's folder, with / between its parts.

    Refused: `inline_image` for a data address, `remote_image` for any other address, `outside_image` for a
    path that leaves the folder, `no_image` for none.
    """
    reference = reference.strip()
    if reference[:5].lower() == "data:":
        raise Refused("inline_image")
    if reference.startswith("//") or (_SCHEME.match(reference) and not _drive(reference)):
        raise Refused("remote_image", reference[:200])
    path = unquote(reference.split("#")[0].split("?")[0], errors="replace").replace("\\", "/")
    if not path:
        raise Refused("no_image", "the page gives no name")
    name = posixpath.normpath(path)
    if _drive(name) or _CONTROL.search(name) or name.startswith(("/", "../")) or name in (".", ".."):
        raise Refused("outside_image", reference[:200])
    return name


def _drive(reference: str) -> bool:
    """Returns whether a path begins with a drive letter, which is no scheme."""
    return reference[1:2] == ":" and reference[:1].isalpha()


_READERS: Final = {
    ".html": html_blocks,
    ".htm": html_blocks,
    ".xhtml": html_blocks,
    ".md": markdown_blocks,
    ".markdown": markdown_blocks,
}


def _folder(store: Store, path: str) -> Iterator[Record]:
    return page_records(Path(local_path(path)))


PAGES: Final = Dataset(
    "a folder of HTML and Markdown files with their images",
    "a page",
    ("interleaved", "text"),
    _make,
    folder=_folder,
)
