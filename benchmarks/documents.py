"""Real PDF and HTML documents through `vlcorpus build`: what is kept, why not, and whether the text is true.

    python -m benchmarks.documents DATA [--out DIR] [--workers N] [--pdf-share 1] [--html-share 1]

DATA holds `documents/` (pdf.jsonl, html.jsonl with their files) and `hostile/pdf/`. Two corpora are built
below DIR: `documents`, of whose pages an OCR reads back the shares given (a page takes it some three seconds
of a core), and `hostile`. Printed: pages by outcome; each page that is not kept with its figure, as
work/decisions has it; how far the OCR agrees on kept pages; the share of the words of what is known of a
document (its Markdown, its article, passages) that its pages tell.
"""

import argparse
import html
import json
import re
import subprocess
import sys
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import yaml

from pipelines.generators.documents import stem

_TOKEN: Final = re.compile(r"[⺀-鿿぀-ヿ가-힯豈-﫿]|[^\W_⺀-鿿぀-ヿ가-힯豈-﫿]+")
_PAGE: Final = re.compile(r"-p\d{5}$")
Row = dict[str, Any]


def main(arguments: list[str]) -> None:
    """Builds both corpora and prints what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("documents-benchmark"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pdf-share", type=float, default=1.0)
    parser.add_argument("--html-share", type=float, default=1.0)
    options = parser.parse_args(arguments)
    documents = options.data / "documents"
    sources = [
        _source("pdf", "pdf", documents / "pdf", options.pdf_share),
        _source("html", "html", documents / "html", options.html_share),
        _source("sites", "html", documents / "sites", options.html_share),
    ]
    rows = _built(sources, options.out / "documents", options.workers)
    for source in sources:
        _report(source["id"], [row for row in rows if row["source"] == source["id"]])
    _coverage(documents, rows)
    hostile = [_source("hostile", "pdf", options.data / "hostile" / "pdf", 0.0)]
    _hostile(_built(hostile, options.out / "hostile", options.workers))


def _source(name: str, kind: str, path: Path, share: float) -> Row:
    return {
        "id": name,
        "kind": "rendered",
        "format": kind,
        "path": str(path),
        "max_quarantine": 1.0,
        # what is measured is the text of every page, whatever its shape
        "rules": {"aspect_ratio": False, "min_side": False, "blank": False},
        "render": {"readback": share},
    }


def _built(sources: list[Row], out: Path, workers: int) -> list[Row]:
    """A row for each page: its decision, error rate, and text where it is kept."""
    out.mkdir(parents=True, exist_ok=True)
    recipe = out.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump({"sources": sources}))
    command = [sys.executable, "-m", "pipelines", "build", str(recipe), "--out", str(out)]
    start = time.perf_counter()
    subprocess.run([*command, "--workers", str(workers)], check=True)
    print(f"\n{out.name}: built in {time.perf_counter() - start:.0f} s by {workers} workers")
    rates = {(row["source"], row["member"]): row["error_rate"] for row in _table(out, "signals")}
    texts = {row["member"]: _text(row["sample"]) for row in _table(out, "drafts") if row["task"] == "ocr"}
    rows = list(_table(out, "decisions"))
    for row in rows:
        row["error_rate"] = rates[(row["source"], row["member"])]
        row["text"] = texts.get(row["member"], "")
    return rows


def _table(out: Path, kind: str) -> Iterator[Row]:
    for path in sorted((out / "work" / kind).rglob("*.parquet")):
        yield from pq.read_table(path).to_pylist()


def _text(sample: str) -> str:
    (view,) = json.loads(sample)["views"]
    segments = [segment for turn in view["turns"] for segment in turn["segments"]]
    return "\n".join(segment["phrase"] for segment in segments if "phrase" in segment)


def _report(name: str, rows: list[Row]) -> None:
    """Outcomes, the pages not kept, and the agreement on those kept."""
    outcomes = Counter(row["decision"] for row in rows)
    # a scan has no text layer: no page of it was born with letters
    scans = sum("few_characters: 0 characters" in (row["detail"] or "") for row in rows)
    read = len(rows) - scans - outcomes["quarantined"]
    share = outcomes["kept"] / max(read, 1)
    print(
        f"\n{name}: {len(rows)} pages, {dict(outcomes)}; {scans} without text; kept of the rest: {share:.1%}"
    )
    for row in rows:
        if row["decision"] != "kept":
            print(f"  {row['decision']:11} {row['member']}: {row['reason']} ({row['detail']})")
    rates = sorted(
        (row["error_rate"], row["member"])
        for row in rows
        if row["decision"] == "kept" and row["error_rate"] is not None
    )
    unread = [row["member"] for row in rows if row["decision"] == "kept" and row["error_rate"] is None]
    documents = sorted({_PAGE.sub("", member) for member in unread})
    if rates:
        print(
            f"  error rate on {len(rates)} kept pages: mean {sum(r for r, _ in rates) / len(rates):.2%}; worst"
        )
    for rate, member in rates[:-7:-1]:
        print(f"    {rate:7.2%} {member}")
    print(
        f"  not read back, or in a script that the reader lacks: {len(unread)} pages of {len(documents)} documents"
    )


def _coverage(folder: Path, rows: list[Row]) -> None:
    """For each document of which something is known, how much of that its kept pages tell."""
    texts: dict[str, str] = defaultdict(str)
    lost: Counter[str] = Counter()
    for row in rows:
        document = f"{row['source']}/{_PAGE.sub('', row['member'])}"
        texts[document] += row["text"] + "\n"
        lost[document] += row["decision"] != "kept"
    print("\nwhat is known of documents, found in the text of their pages:")
    found = missed = 0
    shares: dict[str, list[float]] = defaultdict(list)
    for document, kind, known in _known(folder):
        text = texts.get(document, "")
        if kind == "passage":
            hit = _squeezed(known) in _squeezed(text)
            found, missed = found + hit, missed + (not hit)
            if not hit:
                print(f"  not found in {document}: {known!r} ({lost[document]} pages not kept)")
            continue
        share = _recall(known, text)
        shares[kind].append(share)
        print(f"  {share:7.2%} {kind:9} {document} ({lost[document]} pages not kept)")
    for kind, values in shares.items():
        print(f"mean of {len(values)}, {kind}: {sum(values) / len(values):.2%}")
    print(f"passages found: {found} of {found + missed}")


def _known(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(document, kind of what is known, its text)."""
    for row in _lines(folder / "pdf.jsonl"):
        if row.get("expected_markdown"):
            name = stem(Path(row["file"]).name)
            yield (
                f"pdf/{name}",
                "Markdown",
                _of_markdown((folder / row["expected_markdown"]).read_text("utf-8")),
            )
    for row in _lines(folder / "html.jsonl"):
        file = Path(row["file"])
        document = f"{file.parts[0]}/{stem('/'.join(file.parts[1:]))}"
        if row.get("expected_html"):
            yield document, "article", _of_html((folder / row["expected_html"]).read_text("utf-8"))
        if row.get("truth"):
            truth = json.loads((folder / row["truth"]).read_text("utf-8"))
            for passage in truth.get("must_contain", ()):
                yield document, "passage", passage
            if truth.get("articleBody"):
                yield document, "body", truth["articleBody"]
    for path in sorted((folder / "sites").rglob("groundtruth/*.html.md")):
        page = path.parent.parent / path.name.removesuffix(".md")
        name = stem(page.relative_to(folder / "sites").as_posix())
        yield f"sites/{name}", "Markdown", _of_markdown(path.read_text("utf-8"))


def _lines(path: Path) -> Iterator[Row]:
    for line in path.read_text("utf-8").splitlines():
        yield json.loads(line)


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def _of_html(text: str) -> str:
    parser = _Words()
    parser.feed(text)
    return " ".join(parser.parts)


def _of_markdown(text: str) -> str:
    """Without comments, formulas, tables' rules and the targets of links."""
    text = re.sub(r"<!--.*?-->|\$\$.*?\$\$", " ", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return html.unescape(re.sub(r"</?\w+[^>]*>|\|[-:| ]+\|", " ", text)).replace("\\", "")


def _plain(text: str) -> str:
    # a word that is parted at the end of a line is one
    return unicodedata.normalize("NFKC", re.sub(r"[-\u2010\u00ad]\s*\n\s*", "", text)).casefold()


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text))


def _recall(known: str, text: str) -> float:
    """The share of the words of `known` (of Han and kana: characters) that `text` has, each counted."""
    wanted = Counter(_TOKEN.findall(_plain(known)))
    given = Counter(_TOKEN.findall(_plain(text)))
    return sum((wanted & given).values()) / max(wanted.total(), 1)


def _hostile(rows: list[Row]) -> None:
    print("\nhostile:", dict(Counter(row["decision"] for row in rows)), "pages or documents")
    for row in rows:
        print(f"  {row['decision']:11} {row['member']}: {row['reason'] or ''} {row['detail'] or ''}")


if __name__ == "__main__":
    main(sys.argv[1:])
