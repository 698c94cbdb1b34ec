"""What the model's folder needs."""

import subprocess
import sys

REPORT = 'print(" ".join(sorted({name.split(".")[0] for name in sys.modules})))'
OURS = """
import importlib, pkgutil, sys
import model
for one in pkgutil.walk_packages(model.__path__, "model."):
    importlib.import_module(one.name)
"""
THEIRS = """
import sys
import torch, PIL.Image, PIL.ImageDraw, pyarrow.parquet, safetensors.torch, tokenizers
import torch.distributed.checkpoint.state_dict, torch.utils.checkpoint, torch.utils.data
import transformers.cache_utils, transformers.models.qwen2.modeling_qwen2
"""
OTHERS = {
    "pipelines", "filters", "synth", "ray", "apache_beam", "open_clip", "torchdata", "tensorboard", "matplotlib",
    "pydantic", "duckdb", "datasets", "s3fs", "jinja2", "scipy", "cv2",
}  # fmt: skip


def _modules(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code + REPORT], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_needs_little() -> None:
    """Importing all of model needs torch, transformers, pyarrow, pillow, numpy and what these bring, no more."""
    own = _modules(OURS) - _modules(THEIRS)
    assert "model" in own
    assert not own & OTHERS
