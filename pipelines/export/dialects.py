"""Views as training files in the dialects of other projects: a file a split, the images beside, and a ledger.

A view becomes one record, or a line of refused.jsonl with the reason; ledger.json counts both, task by task. Views are
read and written one after another: of a corpus of any size no more than a shard's batch is held, and of COCO the names
of its categories. Images go by their digest, so one that several views show is written once.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from pipelines.datasets.conversations import foreign_in
from pipelines.export.corpus import Export
from pipelines.opening import check_images
from pipelines.show.inspect import samples
from schemas.dialects import coco
from schemas.dialects.dialogue import LACKS, CannotSay
from schemas.dialects.kosmos2 import to_kosmos2
from schemas.dialects.llava import to_llava
from schemas.dialects.paligemma import to_paligemma
from schemas.dialects.qwen import to_qwen
from schemas.dialects.qwen3 import to_qwen3
from schemas.errors import InputError
from schemas.markup.reader import MarkupError
from schemas.markup.style import TEMPLATES
from schemas.sample import Example, Image, ImageRef, Sample, Text

ToRecord = Callable[[Example, Sequence[str]], Mapping[str, Any]]
"""Makes the record of a view whose images are the files of those names; raises MarkupError."""


@dataclass(slots=True)
class _Ledger:
    """Counts what became of each view, and writes a line for each that was refused."""

    lines: BinaryIO
    seen: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)

    def refuse(self, view: Example, error: MarkupError) -> None:
        """Notes a view that the dialect cannot say."""
        # a view that fits no template of its task has no form in any dialect
        reason = error.reason if isinstance(error, CannotSay) else "task"
        self.refused[view.task, reason] += 1
        line = {"view": view.key, "task": view.task, "reason": reason, "text": str(error)}
        self.lines.write(_line(line))

    def dump(self, target: str, files: Mapping[str, int]) -> bytes:
        """Returns the ledger as JSON: views in, out, and refused by reason, in all and by task."""
        tasks = {}
        for task, count in sorted(self.seen.items()):
            own = {reason: n for (of, reason), n in sorted(self.refused.items()) if of == task}
            tasks[task] = {"in": count, "out": count - sum(own.values()), "refused": own}
        reasons: Counter[str] = Counter()
        for (_, reason), count in sorted(self.refused.items()):
            reasons[reason] += count
        total, lost = self.seen.total(), reasons.total()
        said = {
            reason: {"views": count, "meaning": LACKS[reason]} for reason, count in sorted(reasons.items())
        }
        whole = {
            "to": target,
            "in": total,
            "out": total - lost,
            "refused": said,
            "tasks": tasks,
            "files": files,
        }
        return json.dumps(whole, indent=1, ensure_ascii=False).encode() + b"\n"


class _Records:
    """One file a split: a JSON list, or JSON lines."""

    def __init__(self, export: Export, stack: ExitStack, target: str) -> None:
        self._export, self._stack, self._form = export, stack, _READ_AS.get(target)
        self._to_record, self._listed = WRITERS[target]
        self._files: dict[str, BinaryIO] = {}
        self.counts: dict[str, int] = {}

    def add(self, sample: Sample, views: Sequence[Example], names: Sequence[str], ledger: _Ledger) -> bool:
        """Writes the record of each view, or notes why there is none; returns whether there was any."""
        written = False
        name = f"{sample.split}.{'json' if self._listed else 'jsonl'}"
        for view in views:
            try:
                if self._form:
                    _check_words(view, self._form)
                record = self._to_record(view, names)
            except MarkupError as error:
                ledger.refuse(view, error)
                continue
            if name not in self._files:
                self._files[name] = self._stack.enter_context(self._export.writing(name))
                self.counts[name] = 0
            comma = b"" if not self._listed else b",\n" if self.counts[name] else b"[\n"
            line = _line(record)
            self._files[name].write(comma + (line.rstrip(b"\n") if self._listed else line))
            self.counts[name] += 1
            written = True
        return written

    def finish(self) -> None:
        """Ends each file."""
        for file in self._files.values():
            file.write(b"\n]\n" if self._listed else b"")


@dataclass(slots=True)
class _Parts:
    """One COCO file while it is written: its images, and its annotations in a file of their own."""

    images: BinaryIO
    annotations: BinaryIO
    pictures: int = 0
    rows: int = 0

    def add(self, image: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes an image with its annotations."""
        self.images.write((b",\n" if self.pictures else b"") + _line(image).rstrip(b"\n"))
        self.pictures += 1
        for row in rows:
            self.annotations.write((b",\n" if self.rows else b"") + _line(row).rstrip(b"\n"))
            self.rows += 1


class _Coco:
    """captions_SPLIT.json and instances_SPLIT.json; a phrase's words are a category."""

    def __init__(self, export: Export, stack: ExitStack) -> None:
        self._export, self._stack = export, stack
        self._parts: dict[str, _Parts] = {}
        self._categories: dict[str, dict[str, int]] = {}
        self.counts: dict[str, int] = {}

    def add(self, sample: Sample, views: Sequence[Example], names: Sequence[str], ledger: _Ledger) -> bool:
        """Writes what the views say of their image; returns whether there was anything."""
        sayable = []
        for view in views:
            try:
                sayable.append(_annotated(view))
            except CannotSay as error:
                ledger.refuse(view, error)
        if not sayable:
            return False
        one = coco.annotated(sayable, names[0])
        if one.captions:
            parts = self._of(f"captions_{sample.split}.json")
            number = parts.pictures + 1
            parts.add(coco.image_row(one, number), coco.caption_rows(one, number, parts.rows + 1))
        if one.phrases:
            parts = self._of(f"instances_{sample.split}.json")
            number, known = parts.pictures + 1, self._categories.setdefault(sample.split, {})
            parts.add(coco.image_row(one, number), coco.box_rows(one, number, parts.rows + 1, known))
        return True

    def _of(self, name: str) -> _Parts:
        if name not in self._parts:
            file = self._stack.enter_context(self._export.writing(name))
            file.write(b'{"images": [\n')
            annotations = self._stack.enter_context(self._export.scratch())
            self._parts[name] = _Parts(file, annotations)
        return self._parts[name]

    def finish(self) -> None:
        """Puts the parts of each file together."""
        for name, parts in self._parts.items():
            parts.images.write(b'\n],\n"annotations": [\n')
            parts.annotations.seek(0)
            while block := parts.annotations.read(1 << 20):
                parts.images.write(block)
            parts.images.write(b"\n]")
            if name.startswith("instances_"):
                split = name.removeprefix("instances_").removesuffix(".json")
                rows = coco.category_rows(self._categories[split])
                parts.images.write(b',\n"categories": ' + json.dumps(rows, ensure_ascii=False).encode())
            parts.images.write(b"}\n")
            self.counts[name] = parts.rows


def _check_words(view: Example, form: str) -> None:
    """Raises CannotSay where words spell markup that the format `form` refuses when it reads."""
    if view.task in ("text", "interleaved"):
        return
    words = (
        one.text if isinstance(one, Text) else one.phrase
        for one in view.segments
        if not isinstance(one, ImageRef)
    )
    if foreign := next(filter(None, (foreign_in(text, form) for text in words)), None):
        raise CannotSay("text", f"the words hold markup of {foreign[0].whose}")


def _annotated(view: Example) -> Example:
    """Returns a view that COCO's JSON can say whole; raises CannotSay."""
    if view.task not in ("caption", "referring", "grounded_caption"):
        raise CannotSay("task", f"COCO's JSON has no form for task {view.task}")
    _check_alone(view)
    if any(one.quads for one in view.phrases):
        raise CannotSay("quads")
    return view


def _check_alone(view: Example) -> None:
    """Raises CannotSay unless a view is a document that shows one image, and shows it first."""
    shown = [at for at, one in enumerate(view.segments) if isinstance(one, ImageRef)]
    if [turn.role for turn in view.turns] != ["document"] or len(view.images) != 1 or shown != [0]:
        raise CannotSay("images")


def _paligemma(view: Example, names: Sequence[str]) -> Mapping[str, Any]:
    """Returns the record of a view of which PaliGemma's words lose nothing."""
    if view.task not in TEMPLATES or view.task in ("text", "grounded_caption"):
        raise CannotSay("task", f"PaliGemma has no words for task {view.task}")
    _check_alone(view)
    if any(one.quads for one in view.phrases):
        raise CannotSay("quads")
    if view.task in ("caption", "vqa", "ocr") and any(
        view.task != "ocr" or one.boxes for one in view.phrases
    ):
        raise CannotSay("words", f"PaliGemma says no boxes in task {view.task}")
    if view.task == "grounding" and any(isinstance(one, Text) and one.text.strip() for one in view.segments):
        raise CannotSay("words", "PaliGemma has no words between phrases")
    pair = to_paligemma(view)
    return {"id": view.key, "image": names[0], "prefix": pair.prefix, "suffix": pair.suffix}


def _kosmos2(view: Example, names: Sequence[str]) -> Mapping[str, Any]:
    """Returns the record of a caption, with or without boxes."""
    if view.task not in ("caption", "grounding"):
        raise CannotSay("task", f"Kosmos-2's text has no form for task {view.task}")
    _check_alone(view)
    segments = [one for one in view.segments if not isinstance(one, ImageRef)]
    if view.task == "caption":
        text = "".join(one.text for one in segments if isinstance(one, Text))
        if text.startswith("<grounding>") or "<patch_index_" in text:
            raise CannotSay("text")
    else:
        image: Image = view.images[0]
        text = to_kosmos2(segments, (image.width, image.height))
    return {"id": view.key, "image": names[0], "text": text, "language": view.language}


WRITERS: Final[Mapping[str, tuple[ToRecord, bool]]] = {
    "llava": (to_llava, True),
    "qwen-vl": (to_qwen, True),
    "qwen3-vl": (to_qwen3, True),
    "paligemma": (_paligemma, False),
    "kosmos2": (_kosmos2, False),
}
"""By target, what makes a record, and whether a file is a JSON list; else JSON lines."""


_READ_AS: Final = {"llava": "llava", "qwen-vl": "qwen", "qwen3-vl": "qwen3_vl"}
"""By target, the format of a source that reads it and refuses the markup of others."""


def write(target: str, export: Export) -> list[str]:
    """Writes the views that are asked for as `target` has them; returns what a person should know of it.

    Raises InputError where no view is asked for, or a shard is damaged.
    """
    with ExitStack() as stack:
        ledger = _Ledger(stack.enter_context(export.writing("refused.jsonl")))
        files = _Records(export, stack, target) if target in WRITERS else _Coco(export, stack)
        for sample, images, views, path in _asked(export):
            names = [image_name(image) for image in sample.images]
            ledger.seen.update(view.task for view in views)
            if files.add(sample, views, names, ledger):
                check_images(path, sample, images)
                for name, data in zip(names, images, strict=True):
                    export.image(name, data)
        if not ledger.seen:
            raise InputError(
                f"{export.folder} has no view of that split, task and source: vlcorpus status says what it has"
            )
        files.finish()
    export.write("ledger.json", ledger.dump(target, files.counts))
    lost = ledger.refused.total()
    said = [
        f"{ledger.seen.total() - lost:,} of {ledger.seen.total():,} views in {', '.join(sorted(files.counts))}"
    ]
    if export.images:
        said.append(export.images.said)
    if lost:
        said.append(
            f"{lost:,} views are left out: ledger.json counts the reasons, refused.jsonl names each view"
        )
    return said


def _asked(export: Export) -> Iterator[tuple[Sample, tuple[bytes, ...], list[Example], str]]:
    """Yields each sample with its images, the views that are asked for, and the path of its shard."""
    for name in export.shards():
        _, split, *_, source, _ = name.split("/")
        if export.split not in (None, split) or export.source not in (None, source):
            continue
        for shown in samples(export.read(name), None, export.store.options):
            if shown.sample is not None:
                views = [one for one in shown.sample.examples if export.task in (None, one.task)]
                if views:
                    yield shown.sample, shown.images, views, export.read(name)


def image_name(image: Image) -> str:
    """Returns the file name of an image: by its digest, in one of 256 folders."""
    suffix = "jpg" if image.format == "JPEG" else image.format.lower()
    return f"images/{image.sha256[:2]}/{image.sha256}.{suffix}"


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
