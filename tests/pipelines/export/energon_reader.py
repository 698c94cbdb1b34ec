"""Reads an exported corpus through Megatron-Energon; runs in its environment: PYTHON FOLDER SPLIT.

Prints one line of JSON for each sample: its key, its JSON, and the SHA-256 of its images' bytes by part. Then it loads
a batch as a training does, with images decoded.
"""

import hashlib
import json
import sys
from typing import Any

from megatron.energon import (  # type: ignore[import-not-found,unused-ignore]
    Cooker,
    DefaultTaskEncoder,
    Sample,
    SampleDecoder,
    WorkerConfig,
    basic_sample_keys,
    edataclass,
    get_loader,
    get_train_dataset,
    get_val_dataset,
    stateless,
)


@edataclass
class Ours(Sample):  # type: ignore[misc,unused-ignore]
    """A sample as it stands in the tar: its JSON and its images by part."""

    record: Any
    images: dict[str, Any]


@stateless
def cook(raw: dict[str, Any]) -> Ours:
    """Returns a sample of ours."""
    images = {name: part for name, part in raw.items() if name.endswith("jpg")}
    return Ours(**basic_sample_keys(raw), record=raw["json"], images=images)


class Bytes(DefaultTaskEncoder):  # type: ignore[misc,unused-ignore]
    """Leaves the parts of samples as their bytes."""

    decoder = None
    cookers = [Cooker(cook)]  # noqa: RUF012

    def batch(self, samples: list[Ours]) -> list[Ours]:
        """Returns the samples as they are."""
        return samples


class Decoded(Bytes):
    """Decodes images and JSON as Energon does by default."""

    decoder = SampleDecoder()


def main() -> None:
    """Prints every sample of a split, then decodes some."""
    folder, split = sys.argv[1:]
    config = WorkerConfig(rank=0, world_size=1, num_workers=0)
    common: dict[str, Any] = {"worker_config": config, "batch_size": 1}
    whole = get_val_dataset(folder, split_part=split, task_encoder=Bytes(), **common)
    for (sample,) in get_loader(whole):
        images = {name: hashlib.sha256(data).hexdigest() for name, data in sample.images.items()}
        print(json.dumps([sample.__key__, json.loads(sample.record), images]))
    training = get_train_dataset(
        folder,
        split_part=split,
        task_encoder=Decoded(),
        shuffle_buffer_size=10,
        max_samples_per_sequence=None,
        **common,
    )
    for _, (sample,) in zip(range(20), get_loader(training), strict=False):
        assert isinstance(sample.record, dict)
        for image in sample.images.values():
            assert image.shape[0] == 3


if __name__ == "__main__":
    main()
