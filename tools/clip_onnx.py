"""Writes the ONNX graphs of a small CLIP beside its checkpoint: image.onnx and text.onnx.

    python -m tools.clip_onnx [filters/embedded]

The folder holds open_clip_config.json and open_clip_model.safetensors as tools/train_clip.py writes them: a
plain ViT and a causal text transformer of open_clip. The graphs hold no weights: their initializers are byte
ranges of the checkpoint (ONNX external data), fp16 there and cast to fp32 when a session loads. Inputs are
what a scorer has, uint8 images and int64 tokens; outputs are unit vectors. Only the class token leaves the
image tower, so its last layer computes queries and its MLP for that token alone.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from filters.clip.source import CONFIG, FOLDER, IMAGE, TEXT, WEIGHTS

OPSET: Final = 23
"""The first with the operator Attention."""

IR_VERSION: Final = 11
EPSILON: Final = 1e-5

Pick = Callable[[str], str]


class Graph:
    """Nodes in order; every method returns the name of a value."""

    def __init__(self, checkpoint: Path) -> None:
        with checkpoint.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self._header: dict[str, Any] = json.loads(file.read(length))
        self._start = 8 + length
        self._nodes: list[NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._casts: dict[str, str] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The one output of a node."""
        return self.split(kind, *inputs, outputs=1, **attributes)[0]

    def split(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """The outputs of a node."""
        names = [f"{kind.lower()}_{len(self._nodes)}_{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def constant(self, value: npt.ArrayLike) -> str:
        """A small array that lies in the graph itself."""
        name = f"constant_{len(self._initializers)}"
        self._initializers[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def weight(self, name: str) -> str:
        """A tensor of the checkpoint as fp32."""
        if name not in self._casts:
            self._initializers[name] = self._external(name)
            self._casts[name] = self.op("Cast", name, to=TensorProto.FLOAT)
        return self._casts[name]

    def shaped(self, value: str, *shape: int) -> str:
        """The value in another shape; -1 stands for what remains."""
        return self.op("Reshape", value, self.constant(np.array(shape, np.int64)))

    def normed(self, value: str, name: str) -> str:
        """Layer normalisation over the last axis."""
        return self.op(
            "LayerNormalization",
            value,
            self.weight(f"{name}.weight"),
            self.weight(f"{name}.bias"),
            epsilon=EPSILON,
        )

    def linear(self, value: str, weight: str, bias: str) -> str:
        """(rows, inputs) to (rows, outputs), by a weight of (outputs, inputs)."""
        return self.op("Gemm", value, weight, bias, transB=1)

    def layer(self, value: str, name: str) -> str:
        """`linear` with the weight and the bias of that name."""
        return self.linear(value, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"))

    def rows(self, value: str, first: int, last: int) -> str:
        """The rows `first` to `last` of a weight."""
        bounds = (self.constant(np.array([bound], np.int64)) for bound in (first, last, 0))
        return self.op("Slice", value, *bounds)

    def model(self, name: str, given: ValueInfoProto, output: str, width: int) -> ModelProto:
        """The whole, with `output` as (N, width) float32 unit vectors."""
        made = self.op("LpNormalization", output, axis=-1, p=2)
        vectors = helper.make_tensor_value_info(made, TensorProto.FLOAT, ["N", width])
        graph = helper.make_graph(self._nodes, name, [given], [vectors], list(self._initializers.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _external(self, name: str) -> TensorProto:
        entry = self._header[name]
        if entry["dtype"] != "F16":
            raise ValueError(f"{name} is {entry['dtype']}, not F16")
        first, end = entry["data_offsets"]
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT16, dims=entry["shape"])
        tensor.data_location = TensorProto.EXTERNAL
        where = {"location": WEIGHTS, "offset": str(self._start + first), "length": str(end - first)}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=value)
        return tensor


def _block(graph: Graph, name: str, value: str, shape: tuple[int, int, int], pick: Pick | None = None) -> str:
    """A layer of a transformer over (N * tokens, width) rows; `shape` is (tokens, width, heads).

    With `pick` only the rows that it takes, one of each sample, go on.
    """
    tokens, width, heads = shape
    weight, bias = (graph.weight(f"{name}.attn.in_proj_{one}") for one in ("weight", "bias"))
    normed = graph.normed(value, f"{name}.ln_1")
    if pick is None:
        parts = graph.split("Split", graph.linear(normed, weight, bias), outputs=3, axis=1, num_outputs=3)
    else:
        ends = width, 3 * width
        rest = graph.linear(normed, graph.rows(weight, *ends), graph.rows(bias, *ends))
        value, picked = pick(value), pick(normed)
        query = graph.linear(picked, graph.rows(weight, 0, width), graph.rows(bias, 0, width))
        parts = [query, *graph.split("Split", rest, outputs=2, axis=1, num_outputs=2)]
    lengths = (1 if pick else tokens, tokens, tokens)
    shaped = [graph.shaped(part, -1, length, width) for part, length in zip(parts, lengths, strict=True)]
    causal = int(name.startswith("text."))
    seen = graph.op("Attention", *shaped, q_num_heads=heads, kv_num_heads=heads, is_causal=causal)
    value = graph.op("Add", value, graph.layer(graph.shaped(seen, -1, width), f"{name}.attn.out_proj"))
    inner = graph.op("Gelu", graph.layer(graph.normed(value, f"{name}.ln_2"), f"{name}.mlp.c_fc"))
    return graph.op("Add", value, graph.layer(inner, f"{name}.mlp.c_proj"))


def _patches(graph: Graph, config: dict[str, Any]) -> str:
    """(N, patches, width): uint8 images through the convolution that open_clip begins with.

    Its kernel takes bytes: the normalisation of pixels goes into it, and into a bias.
    """
    vision, preprocess = config["model_cfg"]["vision_cfg"], config["preprocess_cfg"]
    side, width = vision["patch_size"], vision["width"]
    count, size = vision["image_size"] // side, side * side * 3
    pixels = graph.shaped("pixels", -1, count, side, count, side, 3)
    pixels = graph.shaped(graph.op("Transpose", pixels, perm=[0, 1, 3, 2, 4, 5]), -1, size)
    mean, deviation = (np.array(preprocess[name], np.float32) for name in ("mean", "std"))
    scale, shift = (np.tile(one, side * side)[:, None] for one in (1 / (255 * deviation), -mean / deviation))
    kernel = graph.op("Transpose", graph.weight("visual.conv1.weight"), perm=[2, 3, 1, 0])
    kernel = graph.shaped(kernel, size, width)
    bias = graph.op("MatMul", graph.constant(shift.T), kernel)
    scaled = graph.op("Mul", kernel, graph.constant(scale))
    patches = graph.op("Gemm", graph.op("Cast", pixels, to=TensorProto.FLOAT), scaled, bias)
    return graph.shaped(patches, -1, count * count, width)


def image_model(folder: Path) -> ModelProto:
    """`pixels` (N, side, side, 3) uint8 to (N, D) float32 unit vectors."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    vision = config["model_cfg"]["vision_cfg"]
    side, width = vision["image_size"], vision["width"]
    tokens = (side // vision["patch_size"]) ** 2 + 1
    graph = Graph(folder / WEIGHTS)
    patches = _patches(graph, config)
    shape = graph.op(
        "Concat", graph.op("Shape", "pixels", end=1), graph.constant(np.array([1, width])), axis=0
    )
    value = graph.op(
        "Concat", graph.op("Expand", graph.weight("visual.class_embedding"), shape), patches, axis=1
    )
    value = graph.op("Add", value, graph.weight("visual.positional_embedding"))
    value = graph.normed(graph.shaped(value, -1, width), "visual.ln_pre")

    def first(rows: str) -> str:
        return graph.op("Gather", graph.shaped(rows, -1, tokens, width), graph.constant(np.int64(0)), axis=1)

    for number in range(vision["layers"]):
        pick = first if number == vision["layers"] - 1 else None
        name = f"visual.transformer.resblocks.{number}"
        value = _block(graph, name, value, (tokens, width, width // vision["head_width"]), pick)
    value = graph.op("MatMul", graph.normed(value, "visual.ln_post"), graph.weight("visual.proj"))
    given = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", side, side, 3])
    return graph.model("image", given, value, config["model_cfg"]["embed_dim"])


def text_model(folder: Path) -> ModelProto:
    """`tokens` (N, context) int64 to (N, D) float32 unit vectors."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    text = config["model_cfg"]["text_cfg"]
    length, width = text["context_length"], text["width"]
    graph = Graph(folder / WEIGHTS)
    value = graph.op("Gather", graph.weight("text.token_embedding.weight"), "tokens")
    value = graph.op("Add", value, graph.weight("text.positional_embedding"))
    value = graph.shaped(value, -1, width)
    for number in range(text["layers"]):
        name = f"text.transformer.resblocks.{number}"
        value = _block(graph, name, value, (length, width, text["heads"]))
    # the token with the largest number ends the text
    end = graph.op("ArgMax", "tokens", axis=1)
    value = graph.op("GatherND", graph.shaped(value, -1, length, width), end, batch_dims=1)
    value = graph.op("MatMul", graph.normed(value, "text.ln_final"), graph.weight("text.text_projection"))
    given = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["N", length])
    return graph.model("text", given, value, config["model_cfg"]["embed_dim"])


def write(folder: Path) -> None:
    """Both graphs, the same bytes for the same folder."""
    for name, model in ((IMAGE, image_model(folder)), (TEXT, text_model(folder))):
        (folder / name).write_bytes(model.SerializeToString(deterministic=True))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    write(parser.parse_args().folder)


if __name__ == "__main__":
    main()
