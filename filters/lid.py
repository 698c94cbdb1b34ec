"""What fastText says of many texts at once: the labels of its models, the first ones of each text.

fastText takes a text at a time, and finds its pieces (n-grams of 2 to 4 characters) in each word anew. For lid.176.ftz
each word of a batch is taken apart once here, and all texts go through the tree of labels together. The steps, their
order and their precision are those of fastText 0.9.2 (dictionary.cc, quantmatrix.cc, loss.cc), so scores are the same
to the last bit; tests hold both together. Any other model is asked text by text.
"""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import fasttext
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.arrow import Bools, Rows, array, bools, bytes_of, lists, pc, some

MANY: Final = 5
"""So many labels are given where the first is unsure."""
HALF: Final = 0.5
"""A label with more than this is the first, whatever the others add up to."""

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int32]

_BUCKETS: Final = np.uint32(2_000_000)
_LOW: Final = (1 << 18) - 1
"""The bits of a bucket by which a small table, which stays in the processor's cache, says that the model lacks it."""
_SHORTEST, _LONGEST = 2, 4
"""Characters of a piece of a word."""
_CENTROIDS: Final = 256
_END: Final = b"</s>"
_LABEL: Final = "__label__"
_OPENING, _CLOSING = np.frombuffer(b"<>", np.uint8).reshape(2, 1)
_OFFSET: Final = np.uint32(2166136261)
_PRIME: Final = np.uint32(16777619)
_LEAST: Final = np.float32(np.log(1e-5))
"""The logarithm of a score; fastText does not look below it."""


Admits = Callable[[Numbers], Bools]
"""Says of one label for each text whether it is one of those that the text can have."""


class Labels(NamedTuple):
    """The first labels of each text, as numbers of the model's names, and their scores; 0 where there are no more.

    Both are (texts, MANY).
    """

    numbers: Numbers
    scores: Floats


class Asked:
    """Any model of fastText's, asked text by text; `names` are the labels that it has given so far."""

    def __init__(self, path: Path) -> None:
        self._model = fasttext.load_model(str(path))
        self.names: list[str] = []

    def first(self, texts: pa.StringArray, admits: Admits) -> Labels:
        """Returns the first label alone of a text where it has more than half and is admitted, else the first ones."""
        labels = self._labels([self._predict(text, 1) for text in texts.to_pylist()])
        _extend(labels, admits, lambda rows: self.many(some(texts, rows)))
        return labels

    def many(self, texts: pa.StringArray) -> Labels:
        """Returns the first labels of each text."""
        return self._labels([self._predict(text, MANY) for text in texts.to_pylist()])

    def _predict(self, text: str, choices: int) -> list[tuple[float, str]]:
        # the module's own predict() is this call and a copy of its answer
        return list(self._model.f.predict(text.replace("\n", " ") + "\n", choices, 0.0, "strict"))

    def _labels(self, found: list[list[tuple[float, str]]]) -> Labels:
        labels = _no_labels(len(found))
        for row, given in enumerate(found):
            for place, (score, label) in enumerate(given):
                name = label.removeprefix(_LABEL)
                if name not in self.names:
                    self.names.append(name)
                labels.numbers[row, place], labels.scores[row, place] = self.names.index(name), score
        return labels


class _Tree(NamedTuple):
    """Huffman's tree over the labels, leaves first, the root last: the children of each inner node."""

    left: Rows
    right: Rows


class Lid176:
    """The model lid.176.ftz; `names` are its labels."""

    def __init__(self, path: Path) -> None:
        reading = _Reading(path.read_bytes())
        entries, pruned = reading.dictionary()
        words = [(word, count) for word, count, kind in entries if not kind]
        labels = [(word, count) for word, count, kind in entries if kind]
        self.names = [word.decode().removeprefix(_LABEL) for word, _ in labels]
        self._words = array([word for word, _ in words], pa.binary()).cast(pa.string())
        self._end = [word for word, _ in words].index(_END)
        self._row_of = np.full(_BUCKETS, -1, np.int32)
        self._row_of[pruned[:, 0]] = pruned[:, 1] + len(words)
        self._may_be = np.zeros(_LOW + 1, bool)
        self._may_be[pruned[:, 0] & _LOW] = True
        self._vectors = reading.vectors()
        self._output = np.ascontiguousarray(reading.output().T)
        self._tree = _tree([count for _, count in labels])

    def first(self, texts: pa.StringArray, admits: Admits) -> Labels:
        """Returns the first label alone of a text where it has more than half and is admitted, else the first ones."""
        hidden = self._hidden(texts)
        scores = self._scores(hidden, HALF)
        labels = _no_labels(len(texts))
        labels.numbers[:, 0] = scores.argmax(axis=1)
        labels.scores[:, 0] = scores[np.arange(len(texts)), labels.numbers[:, 0]]
        _extend(labels, admits, lambda rows: self._many(hidden[rows]))
        return labels

    def many(self, texts: pa.StringArray) -> Labels:
        """Returns the first labels of each text."""
        return self._many(self._hidden(texts))

    def _many(self, hidden: Floats) -> Labels:
        labels, rows = _no_labels(len(hidden)), np.arange(len(hidden))
        # few texts have a label below a fiftieth among their first
        for least in (0.02, 0.0):
            scores = self._scores(hidden[rows], least)
            several = np.argsort(-scores, axis=1, kind="stable")[:, :MANY]
            labels.numbers[rows], labels.scores[rows] = several, np.take_along_axis(scores, several, axis=1)
            rows = rows[labels.scores[rows, -1] == 0]
        labels.numbers[labels.scores == 0] = 0
        return labels

    def _hidden(self, texts: pa.StringArray) -> Floats:
        """The vector of each text: the mean of the vectors of its words and their pieces."""
        words, ends = _words(texts)
        # here, since scipy takes longer to load than most commands to run
        from scipy.sparse import csr_array

        coded = words.dictionary_encode()
        rows, counts = self._rows(coded.dictionary)
        # every text ends with the word of the end
        tokens = np.insert(coded.indices.to_numpy(), ends, len(counts))
        rows, counts = np.append(rows, self._end), np.append(counts, np.int32(1))
        sizes = counts[tokens]
        after = np.cumsum(sizes, dtype=np.int32)
        places = np.repeat((np.cumsum(counts, dtype=np.int32) - counts)[tokens] - (after - sizes), sizes)
        places += np.arange(len(places), dtype=np.int32)
        limits = np.insert(after[ends + np.arange(len(texts))], 0, 0)
        # SciPy adds the rows one after the other, as fastText does
        ones = np.ones(len(places), np.float32)
        added = csr_array((ones, rows[places], limits), (len(texts), len(self._vectors))) @ self._vectors
        return np.asarray(added * (1 / np.diff(limits)).astype(np.float32)[:, None])

    def _rows(self, words: pa.StringArray) -> tuple[Numbers, Numbers]:
        """The rows of the words, one word after the other: its own, then those of its pieces; and how many of each."""
        pieces, of_word = self._pieces(words)
        own = pc.fill_null(pc.index_in(words, value_set=self._words), -1).to_numpy()
        known = np.flatnonzero(own >= 0)
        counts = np.bincount(of_word, minlength=len(words)).astype(np.int32)
        counts[known] += 1
        firsts = (np.cumsum(counts) - counts)[known]
        rows = np.empty(counts.sum(), np.int32)
        is_piece = np.ones(len(rows), bool)
        is_piece[firsts] = False
        rows[is_piece] = pieces
        rows[firsts] = own[known]
        return rows, counts

    def _pieces(self, words: pa.StringArray) -> tuple[Numbers, Numbers]:
        """The rows of all pieces of words that the model has, and the words that they are of."""
        if not len(words):
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        data = np.frombuffer(pc.binary_join(lists([0, len(words)], words), "><")[0].as_buffer(), np.uint8)
        data = np.concatenate([_OPENING, data, _CLOSING])
        starts = np.flatnonzero((data & 0xC0) != 0x80)
        firsts = data.take(starts)
        # the word that follows each sign of an opening
        word = np.repeat(np.arange(len(words), dtype=np.int32), pc.utf8_length(words).to_numpy() + 2)
        # fastText's characters are signed
        values = firsts.view(np.int8).astype(np.int32).view(np.uint32)
        wide = np.flatnonzero(firsts >= 0x80)
        widths = _widths(firsts[wide])
        hashes = np.full(len(starts), _OFFSET, np.uint32)
        found = []
        for length in range(1, _LONGEST + 1):
            # of pieces by their first character, the last characters
            hashes = (hashes[: len(starts) - length + 1] ^ values[length - 1 :]) * _PRIME
            for further in range(1, 4):
                at = wide[(widths > further) & (wide >= length - 1)]
                more = data[starts[at] + further].view(np.int8).astype(np.int32).view(np.uint32)
                hashes[at - length + 1] = (hashes[at - length + 1] ^ more) * _PRIME
            if length >= _SHORTEST:
                found.append(self._kept(hashes, word, length))
        places, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(places, kind="stable")
        return rows[order], word[places[order]]

    def _kept(self, hashes: npt.NDArray[np.uint32], word: Numbers, length: int) -> tuple[Rows, Numbers]:
        """Returns where pieces of so many characters begin that the model has, and their rows."""
        inside = word[length - 1 :] == word[: len(hashes)]
        buckets = hashes - hashes // _BUCKETS * _BUCKETS
        # the model lacks nine pieces in ten
        maybe = np.flatnonzero(inside & self._may_be.take(buckets & _LOW))
        rows = self._row_of[buckets[maybe]]
        known = rows >= 0
        return maybe[known], rows[known]

    def _scores(self, hidden: Floats, least: float) -> Floats:
        """The scores of all labels, (texts, labels); 0 for those below `least`, or lower than fastText looks."""
        from scipy.special import expit

        tree, leaves = self._tree, len(self.names)
        floor = max(_LEAST, np.float32(np.log(least + 1e-5)))
        found = np.zeros((len(hidden), leaves), np.float32)
        columns = np.ascontiguousarray(hidden.T)
        rows = np.arange(len(hidden))
        nodes = np.full(len(hidden), leaves + len(tree.left) - 1)
        logs = np.zeros(len(hidden), np.float32)
        # all nodes of one depth together
        while len(rows):
            inner = nodes >= leaves
            found[rows[~inner], nodes[~inner]] = _exp(logs[~inner])
            rows, nodes, logs = rows[inner], nodes[inner] - leaves, logs[inner]
            share = expit(_products(columns.take(rows, axis=1), self._output.take(nodes, axis=1)))
            logs = np.concatenate([logs + _log(1 - share.astype(np.float64)), logs + _log(share)])
            nodes = np.concatenate([tree.left[nodes], tree.right[nodes]])
            rows = np.concatenate([rows, rows])
            above = logs >= floor
            rows, nodes, logs = rows[above], nodes[above], logs[above]
        return found


def _extend(labels: Labels, admits: Admits, many: Callable[[Rows], Labels]) -> None:
    """Puts the first labels in the place of one that has no more than half, or is not admitted."""
    rows = np.flatnonzero((labels.scores[:, 0] <= HALF) | ~admits(labels.numbers[:, 0]))
    if len(rows):
        labels.numbers[rows], labels.scores[rows] = many(rows)


def _no_labels(texts: int) -> Labels:
    return Labels(np.zeros((texts, MANY), np.int32), np.zeros((texts, MANY), np.float32))


def _words(texts: pa.StringArray) -> tuple[pa.StringArray, Numbers]:
    """The words of all texts in a row, and for each text how many there are up to its end.

    A text ends before a word that is fastText's sign of the end; words that are labels are none.
    """
    found = pc.ascii_split_whitespace(pc.replace_substring(texts, "\0", " "))
    words, ends = found.flatten(), np.cumsum(pc.list_value_length(found).to_numpy())
    kept = pc.binary_length(words).to_numpy() > 0
    rare = bytes(bytes_of(words)[0])
    if _END in rare or _LABEL.encode() in rare:
        owners = pc.list_parent_indices(found).to_numpy()
        is_end = bools(pc.equal(words, _END.decode()))
        first = np.full(len(texts), len(words))
        np.minimum.at(first, owners[is_end], np.flatnonzero(is_end))
        kept &= ~bools(pc.starts_with(words, _LABEL)) & (np.arange(len(words)) < first[owners])
    if not kept.all():
        words, ends = words.filter(array(kept)), np.insert(np.cumsum(kept), 0, 0)[ends]
    return words, ends


def _widths(firsts: npt.NDArray[np.uint8]) -> Numbers:
    """The bytes of characters above ASCII, by their first byte."""
    return 2 + (firsts >= 0xE0).astype(np.int32) + (firsts >= 0xF0)


def _products(left: Floats, right: Floats) -> Floats:
    """The products of vectors, (width, vectors), added one after the other, as fastText does; NumPy's sums do not."""
    parts = left * right
    total: Floats = parts[0]
    for part in parts[1:]:
        total += part
    return total


def _log(share: Any) -> Floats:
    found: Floats = np.log(share.astype(np.float32).astype(np.float64) + 1e-5).astype(np.float32)
    return found


def _exp(logs: Floats) -> Floats:
    # of complex numbers NumPy asks the C library, as fastText does; its own for float32 differs in the last bit
    found: Floats = np.exp(logs.astype(np.complex64)).real
    return found


def _tree(counts: Sequence[int]) -> _Tree:
    """Huffman's tree, as fastText builds it from how often labels were in the training data, most frequent first."""
    leaves = len(counts)
    nodes = 2 * leaves - 1
    total = [*counts, *[10**15] * (leaves - 1)]
    left, right = [-1] * nodes, [-1] * nodes
    leaf, inner = leaves - 1, leaves
    for node in range(leaves, nodes):
        both = []
        for _ in range(2):
            if leaf >= 0 and total[leaf] < total[inner]:
                both.append(leaf)
                leaf -= 1
            else:
                both.append(inner)
                inner += 1
        left[node], right[node] = both
        total[node] = total[both[0]] + total[both[1]]
    return _Tree(np.array(left[leaves:], np.intp), np.array(right[leaves:], np.intp))


class _Reading:
    """The file of the model, part by part in its order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = struct.calcsize("<2i12id")

    def _take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return found

    def _array(self, kind: str, count: int) -> Any:
        found = np.frombuffer(self._data, kind, count, self._at)
        self._at += found.nbytes
        return found

    def dictionary(self) -> tuple[list[tuple[bytes, int, int]], Any]:
        """Returns words and labels with their counts and kinds (1: label), and the rows of buckets that are kept."""
        size, _, _, _, pruned = self._take("<3i2q")
        entries = []
        for _ in range(size):
            end = self._data.index(b"\0", self._at)
            word = self._data[self._at : end]
            self._at = end + 1
            entries.append((word, *self._take("<qb")))
        return entries, self._array("<i4", 2 * pruned).reshape(-1, 2)

    def vectors(self) -> Floats:
        """Returns the vectors of words and pieces, which stand as codes of centroids and of a norm."""
        _, _, rows, _, size = self._take("<2?2qi")
        codes = self._array("<u1", size).reshape(rows, -1)
        centroids = self._quantizer()
        norms = self._array("<u1", rows)
        norm = self._quantizer()[0, norms]
        parts = centroids[np.arange(codes.shape[1]), codes]
        return np.asarray(parts.reshape(rows, -1) * norm, np.float32)

    def _quantizer(self) -> Floats:
        size, parts, width, _ = self._take("<4i")
        found: Floats = self._array("<f4", size * _CENTROIDS).reshape(parts, _CENTROIDS, width)
        return found

    def output(self) -> Floats:
        """Returns the vectors of the inner nodes of the tree."""
        _, rows, size = self._take("<?2q")
        found: Floats = self._array("<f4", rows * size).reshape(rows, size)
        return found
