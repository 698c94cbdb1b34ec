"""Makes filters/english.txt.gz, the English words by which the language filter knows short captions.

    python -m tools.english_words /usr/share/dict/american-english

The file is that of Debian's package wamerican 2020.12.07-2: word lists of SCOWL (sizes 10 to 60), whose licence stands
in NOTICE. Words are written in lower case, once each, in order; possessives are left out, as readers cut them.
"""

import argparse
import gzip
from pathlib import Path

from filters.words import LIST


def main() -> None:
    """Writes the list; the same words give the same bytes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", type=Path, help="a word a line")
    lines = parser.parse_args().words.read_text(encoding="utf-8").split()
    words = sorted({line.lower() for line in lines if "'" not in line and len(line) > 1})
    LIST.write_bytes(gzip.compress("\n".join(words).encode(), 9, mtime=0))
    print(f"{len(words):,} words in {LIST}")


if __name__ == "__main__":
    main()
