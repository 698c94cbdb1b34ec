"""The graphs of the embedded scorer come from its checkpoint."""

import shutil
from pathlib import Path

from filters.clip.source import CONFIG, FOLDER, IMAGE, TEXT, WEIGHTS
from tools.clip_onnx import write


def test_the_graphs_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    """The program gives the files that come with the package, byte for byte."""
    for name in (CONFIG, WEIGHTS):
        shutil.copy(FOLDER / name, tmp_path)
    write(tmp_path)
    for name in (IMAGE, TEXT):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


def test_the_graphs_hold_no_weights() -> None:
    """Weights lie in the checkpoint alone: both graphs together are below 50 kB."""
    assert sum((FOLDER / name).stat().st_size for name in (IMAGE, TEXT)) < 50_000
