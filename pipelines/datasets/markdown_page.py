"""The words and pictures of a Markdown text, in order."""

from collections.abc import Container, Iterator
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipelines.datasets.built import Picture
from pipelines.datasets.html_page import blocks as html_blocks
from pipelines.datasets.interleave import Block
from pipelines.datasets.local_names import local_name
from pipelines.datasets.reasons import Refusal, Refused

MAX_BYTES: Final = 4 * 1024 * 1024
_PARSER: Final = MarkdownIt("commonmark").enable("table")


def blocks(page: bytes, files: Container[str]) -> tuple[list[Block], list[Refusal], str]:
    """Paragraphs and pictures in order, pictures that cannot be used, and no language.

    HTML inside is read as HTML. `files` are the names below the text's folder.
    """
    if len(page) > MAX_BYTES:
        raise Refused("too_large", f"a text of {len(page)} bytes")
    read: list[Block] = []
    lost: list[Refusal] = []
    for token in _PARSER.parse(page.decode("utf-8", "replace").removeprefix("\ufeff")):
        if token.type == "inline":
            for block in _inline(token, files, lost):
                read.append(block)
        elif token.type in ("fence", "code_block"):
            read.append(token.content.rstrip("\n"))
        elif token.type == "html_block":
            inner, gone, _ = html_blocks(token.content.encode("utf-8", "replace"), files)
            read += inner
            lost += gone
    return [block for block in read if isinstance(block, Picture) or block.strip()], lost, ""


def _inline(token: Token, files: Container[str], lost: list[Refusal]) -> Iterator[Block]:
    words: list[str] = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            words.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            words.append("\n")
        elif child.type == "image" or (child.type == "html_inline" and child.content[:4].lower() == "<img"):
            found = list(_pictures(child, files, lost))
            if found:
                yield "".join(words).strip()
                words = []
                yield from found
    yield "".join(words).strip()


def _pictures(token: Token, files: Container[str], lost: list[Refusal]) -> Iterator[Block]:
    if token.type == "html_inline":
        inner, gone, _ = html_blocks(token.content.encode("utf-8", "replace"), files)
        lost += gone
        yield from inner
        return
    try:
        name = local_name(str(token.attrs.get("src", "")))
        if name not in files:
            raise Refused("missing_image", name[:200])
        yield Picture(name)
    except Refused as error:
        lost.append(error.refusal)
