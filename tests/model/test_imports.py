"""What the model's folder needs."""

import subprocess
import sys

THEIRS = """
import torch, PIL.Image, PIL.ImageDraw, pyarrow.parquet, safetensors.torch, tokenizers
import torch.distributed.checkpoint.state_dict, torch.utils.checkpoint, torch.utils.data
import transformers.cache_utils, transformers.models.qwen2.modeling_qwen2
"""
OURS = """
import importlib, pkgutil, sys
brought = {name.split(".")[0] for name in sys.modules}
import model
for one in pkgutil.walk_packages(model.__path__, "model."):
    importlib.import_module(one.name)
print(*{name.split(".")[0] for name in sys.modules} - brought)
"""
OTHERS = {
    "pipelines", "filters", "synth", "ray", "apache_beam", "open_clip", "torchdata", "tensorboard", "matplotlib",
    "pydantic", "duckdb", "datasets", "s3fs", "jinja2", "scipy", "cv2",
}  # fmt: skip


def test_needs_little() -> None:
    """Importing all of model needs torch, transformers, pyarrow, pillow, numpy and what these bring, no more."""
    done = subprocess.run([sys.executable, "-c", THEIRS + OURS], capture_output=True, text=True, check=True)
    own = set(done.stdout.split())
    assert "model" in own
    assert not own & OTHERS
