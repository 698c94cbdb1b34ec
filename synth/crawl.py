"""The demo crawl: raw shards as img2dataset writes them, with planted defects, and their truth apart.

    OUT/shards/00000.tar       KEY.jpg|png|webp, KEY.txt, KEY.json for each row
    OUT/shards/00000.parquet   the same metadata
    OUT/truth.jsonl            what was planted in each row: a pipeline never reads it

Equal (n, seed, per_shard) give equal bytes: every row is drawn from a generator seeded by its own
number, whichever process writes it and in whatever order.
"""

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import re
import tarfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from synth import content
from synth.defects import DEFECTS, TWINS, Row
from synth.seeds import generator

MOST_PER_SHARD: Final = 10_000
"""img2dataset's keys leave four digits for the row."""

METADATA: Final = pa.schema(
    {
        **dict.fromkeys(("key", "url", "caption", "status", "error_message"), pa.string()),
        **dict.fromkeys(("width", "height", "original_width", "original_height"), pa.int32()),
        **dict.fromkeys(("exif", "sha256"), pa.string()),
    }
)
"""img2dataset's columns."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A row before anything is drawn: its number, its defect, and the row that it is a twin of."""

    index: int
    planted: str
    of: int | None = None


def plan(n: int, seed: int, per_shard: int) -> list[Slot]:
    """What each of n rows is to be: exact shares of every defect, in a drawn order.

    From 100 rows on every defect occurs. A twin's other row has no defect and no other twin; a repeat's
    lies in another shard where there is one.
    """
    counts = {kind: round(defect.weight * n / 1000) for kind, defect in DEFECTS.items()}
    if n >= 100:
        counts = {kind: max(1, count) for kind, count in counts.items()}
    kinds = [kind for kind, count in counts.items() if kind != "none" for _ in range(count)][:n]
    kinds += ["none"] * (n - len(kinds))
    rng = generator(seed, "plan")
    rng.shuffle(kinds)
    free = [index for index, kind in enumerate(kinds) if kind == "none"]
    rng.shuffle(free)
    slots = []
    for index, kind in enumerate(kinds):
        if kind in TWINS and not free:
            kind = "none"
        if kind not in TWINS:
            slots.append(Slot(index, kind))
            continue
        elsewhere = (i for i in free if kind != "repeat" or i // per_shard != index // per_shard)
        other = next(elsewhere, free[0])
        free.remove(other)
        slots.append(Slot(index, kind, other))
    return slots


def _sound(seed: int, index: int, planted: str) -> Row:
    """Row `index` before its defect."""
    rng = generator(seed, "row", index)
    language = (
        rng.choice(content.codes()) if planted == "language" else rng.choices(("en", "zh"), (60, 40))[0]
    )
    shown = content.draw(rng, language)
    form, quality = rng.choices(("jpg", "webp", "png"), (80, 12, 8))[0], rng.randint(78, 95)
    if planted in ("truncated", "not_image", "empty"):
        form = "jpg"
    return Row(
        content=shown,
        language=language,
        caption=content.describe(shown, language, rng),
        form=form,
        data=content.encode(content.picture(shown), form, quality),
        url=_url(seed, index, form),
    )


def _url(seed: int, index: int, form: str) -> str:
    name = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).hexdigest()
    return f"https://demo.example/{name[:2]}/{name[2:]}.{form}"


def row(seed: int, slot: Slot) -> Row:
    """A row of the crawl, defect and all. It depends on the seed and the slot alone."""
    rng = generator(seed, "defect", slot.index)
    if slot.of is None:
        return DEFECTS[slot.planted].plant(_sound(seed, slot.index, slot.planted), rng)
    planted = DEFECTS[slot.planted].plant(_sound(seed, slot.of, "none"), rng)
    if slot.planted == "repeat":
        return planted
    return replace(planted, url=_url(seed, slot.index, planted.form))


def _place(index: int, per_shard: int) -> tuple[str, str]:
    """(shard, member) of a row."""
    shard, within = divmod(index, per_shard)
    return f"{shard:05d}", f"{shard:05d}{within:04d}"


def _metadata(key: str, made: Row) -> dict[str, Any]:
    width = height = None
    # a header that cannot be read leaves the sizes unknown, as in a real crawl
    with (
        contextlib.suppress(OSError, Image.DecompressionBombError),
        Image.open(io.BytesIO(made.data)) as image,
    ):
        width, height = image.size
    return {
        "key": key, "url": made.url, "caption": made.caption or None, "status": "success",
        "error_message": None, "width": width, "height": height,
        "original_width": width, "original_height": height,
        "exif": made.exif, "sha256": hashlib.sha256(made.data).hexdigest(),
    }  # fmt: skip


def _truth(slot: Slot, made: Row, per_shard: int) -> dict[str, Any]:
    shard, member = _place(slot.index, per_shard)
    says = DEFECTS[slot.planted]
    of = None
    if slot.of is not None:
        of = dict(zip(("shard", "member"), _place(slot.of, per_shard), strict=True))
    return {
        "shard": shard, "member": member, "planted": slot.planted, "rule": says.rule, "error": says.error,
        "also": list(says.also), "of": of, "language": made.language, "made_of": made.content.made_of,
        "clean_caption": made.clean_caption,
    }  # fmt: skip


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(data))


def write_shard(folder: Path, seed: int, per_shard: int, slots: list[Slot]) -> list[dict[str, Any]]:
    """Writes the tar and the Parquet file of one shard's slots; the truth of each row.

    Both appear under their names when whole.
    """
    shard, _ = _place(slots[0].index, per_shard)
    metas, truth = [], []
    partial_tar, partial_parquet = folder / f".{shard}.tar.tmp", folder / f".{shard}.parquet.tmp"
    with tarfile.open(partial_tar, "w", format=tarfile.USTAR_FORMAT) as tar:
        for slot in slots:
            made = row(seed, slot)
            _, key = _place(slot.index, per_shard)
            metas.append(_metadata(key, made))
            truth.append(_truth(slot, made, per_shard))
            _add(tar, f"{key}.{made.form}", made.data)
            if made.caption is not None:
                _add(tar, f"{key}.txt", made.caption.encode())
            _add(tar, f"{key}.json", json.dumps(metas[-1], ensure_ascii=False, sort_keys=True).encode())
    pq.write_table(pa.Table.from_pylist(metas, METADATA), partial_parquet, compression="zstd")
    os.replace(partial_parquet, folder / f"{shard}.parquet")
    os.replace(partial_tar, folder / f"{shard}.tar")
    return truth


def _sweep(folder: Path, shards: int) -> None:
    """Takes away the shards that an earlier, larger crawl left in the folder."""
    for path in folder.iterdir():
        found = re.fullmatch(r"(\d{5})\.(tar|parquet)", path.name)
        if found and int(found[1]) >= shards:
            path.unlink()


def write_crawl(out: Path, n: int, seed: int, per_shard: int = 250, workers: int | None = None) -> Path:
    """Writes a demo crawl of n rows below `out`; the path of its truth table.

    `workers` processes (None: one a core that may be used) change its speed, never its bytes. Raises
    ValueError when n < 1 or `per_shard` is not within 1 to 10,000.
    """
    if n < 1:
        raise ValueError(f"a crawl has at least one row, not {n}")
    if not 1 <= per_shard <= MOST_PER_SHARD:
        raise ValueError(f"per_shard is 1 to {MOST_PER_SHARD}, not {per_shard}")
    folder = out / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    slots = plan(n, seed, per_shard)
    parts = [slots[start : start + per_shard] for start in range(0, n, per_shard)]
    write = partial(write_shard, folder, seed, per_shard)
    processes = min(len(parts), workers or len(os.sched_getaffinity(0)))
    if processes <= 1:
        truths = [write(part) for part in parts]
    else:
        # spawn: a fork would carry along whatever threads the caller runs
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            truths = list(pool.map(write, parts))
    _sweep(folder, len(parts))
    lines = [json.dumps(line, ensure_ascii=False, sort_keys=True) for truth in truths for line in truth]
    unfinished = out / ".truth.jsonl.tmp"
    unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return unfinished.replace(out / "truth.jsonl")
