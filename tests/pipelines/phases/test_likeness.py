"""Whole builds of images that hashes alone confuse: what is kept, what is protected."""

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.filters.pictures import encoded, noise
from tests.filters.test_sketch import FLAGS, flag, hue
from tests.pipelines.building import build, rows
from tests.pipelines.raw import add, caption


def crawl(folder: Path, images: Mapping[str, Image.Image]) -> str:
    """A tar of images with captions that no rule minds."""
    folder.mkdir()
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for number, (name, image) in enumerate(images.items()):
            add(tar, f"{name}.png", encoded(image))
            add(tar, f"{name}.txt", caption(number).encode())
    return str(folder)


def decided(out: Path, sources: Mapping[str, str], rules: dict[str, Any], workers: int = 0) -> dict[str, str]:
    """Builds sources, those called eval in that role; the decision or the reason of each row by member."""
    named = [
        {"id": name, "kind": "webdataset", "path": path} | ({"role": "eval"} if name == "eval" else {})
        for name, path in sources.items()
    ]
    build({"languages": ["en"], "sources": named, "rules": rules}, out, workers=workers)
    return {
        row["member"]: row["decision"] if row["decision"] == "kept" else row["reason"]
        for row in rows(out, "decisions")
    }


def test_flags_are_no_duplicates_of_one_another(tmp_path: Path) -> None:
    """All thirteen are kept, and a smaller copy of one is dropped."""
    images = {f"flag{number:02}": flag(code) for number, code in enumerate(FLAGS)}
    images["small"] = flag(FLAGS[0]).resize((450, 300))
    found = decided(tmp_path / "out", {"web": crawl(tmp_path / "raw", images)}, {})
    assert found.pop("small") == "phash"
    assert set(found.values()) == {"kept"}


def test_an_image_in_another_hue_is_another_image(tmp_path: Path) -> None:
    """Its hash is near, its colours are not."""
    image = noise(320, 300, 5, smooth=60)
    images = {"first": image, "other": hue(image, 120), "small": image.resize((260, 244))}
    found = decided(tmp_path / "out", {"web": crawl(tmp_path / "raw", images)}, {})
    assert found == {"first": "kept", "other": "kept", "small": "phash"}


@pytest.mark.parametrize("turned", [False, True])
def test_turned_and_mirrored_copies_are_dropped_on_request(tmp_path: Path, turned: bool) -> None:
    """The largest of an image's turns is kept."""
    image, other = (noise(320, 300, seed, smooth=60) for seed in (1, 2))
    images = {
        "first": image,
        "mirrored": image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((280, 262)),
        "turned": image.transpose(Image.Transpose.ROTATE_90).resize((225, 240)),
        "other": other,
    }
    found = decided(tmp_path / "out", {"web": crawl(tmp_path / "raw", images)}, {"phash": {"turned": turned}})
    copies = "phash" if turned else "kept"
    assert found == {"first": "kept", "mirrored": copies, "turned": copies, "other": "kept"}


def test_sketches_never_weaken_evaluation_protection(tmp_path: Path) -> None:
    """A flag whose hash is near that of an evaluation flag is dropped, though the two are not one image."""
    shown = crawl(tmp_path / "eval", {"shown": flag("|bwr")})
    web = crawl(tmp_path / "raw", {"like": flag("|gwr"), "far": noise(320, 300, 3)})
    found = decided(tmp_path / "out", {"eval": shown, "web": web}, {})
    assert found == {"shown": "kept", "like": "eval:eval", "far": "kept"}
