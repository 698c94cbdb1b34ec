import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.audit.verify import verify
from tests.pipelines.crawls import demo, environment, run_inline
from tests.pipelines.faults import Faults, before

LIMIT = 240
"""Seconds that a run may take: what a client waits for and tries again is bounded."""


SHARES = (0.02, 0.1, 0.3)
"""Of requests that have a fault."""


@pytest.fixture(scope="module")
def crawl(s3_options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The store with a crawl in it, and the manifest of a build that nothing disturbed."""
    folder = tmp_path_factory.mktemp("faults")
    shards = demo(folder / "crawl", 30, 10)
    fs = fsspec.filesystem("s3", **s3_options)
    fs.put(str(shards), "bucket/crawl", recursive=True)
    done = run_inline(
        "build", written(folder, s3_options, "right", s3_options["client_kwargs"]["endpoint_url"])
    )
    assert done.returncode == 0, done.stderr
    return folder, s3_options, fs.cat_file("bucket/right/manifest.json")


def written(folder: Path, options: dict[str, Any], out: str, endpoint: str) -> Path:
    """A recipe that reads from the store and writes to it, through an endpoint."""
    client = {**options["client_kwargs"], "endpoint_url": endpoint}
    config = {"read_timeout": 1, "connect_timeout": 1, "retries": {"max_attempts": 1}}
    own = {**options, "client_kwargs": client, "config_kwargs": config}
    recipe = folder / f"{out}.json.yaml"
    sources = [{"id": "web", "path": "s3://bucket/crawl", "storage_options": own}]
    recipe.write_text(
        json.dumps(
            {
                "sources": sources,
                "languages": ["en", "zh"],
                "out": f"s3://bucket/{out}",
                "storage_options": own,
            }
        )
    )
    return recipe


def ends_right_or_in_a_sentence(crawl: Any, faults: Faults) -> bool:
    """Builds through a proxy that fails; whether it ended right. Whichever way, the next build ends right."""
    folder, options, manifest = crawl
    out = f"out-{faults.seed}-{faults.storm}"
    endpoint = options["client_kwargs"]["endpoint_url"]
    with before(endpoint, faults) as address:
        began = time.monotonic()
        done = run_inline("build", written(folder, options, out, address))
        assert time.monotonic() - began < LIMIT
    assert "Traceback" not in done.stderr, done.stderr
    assert options["secret"] not in done.stdout + done.stderr
    if done.returncode:
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
        again = run_inline("build", written(folder, options, out, endpoint))
        assert again.returncode == 0, again.stderr
    fs = fsspec.filesystem("s3", **options)
    assert fs.cat_file(f"bucket/{out}/manifest.json") == manifest
    assert verify(f"s3://bucket/{out}", options) == []
    fs.rm(f"bucket/{out}", recursive=True)
    return done.returncode == 0


@pytest.mark.parametrize("seed", range(1, 3))
def test_a_store_that_fails_now_and_then(crawl: Any, seed: int) -> None:
    """Errors, resets, cut and slow answers, stale listings: a build ends right or in a sentence, and then goes on."""
    ends_right_or_in_a_sentence(crawl, Faults(seed, share=SHARES[seed % 3]))


def test_a_storm_of_errors(crawl: Any) -> None:
    """A store that answers 503 from the 80th request on, for ever, ends a build in a sentence within its time."""
    assert not ends_right_or_in_a_sentence(crawl, Faults(0, share=0, storm=80, lasts=10**9))


def test_two_builds_on_one_folder_of_a_store(crawl: Any) -> None:
    """Two builds of one recipe into one folder of an object store, which knows no lock, leave what one leaves."""
    folder, options, manifest = crawl
    endpoint = options["client_kwargs"]["endpoint_url"]
    recipe = written(folder, options, "both", endpoint)
    command = [sys.executable, "-m", "pipelines", "build", str(recipe), "--engine", "inline"]
    runs = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
        )
        for _ in range(2)
    ]
    for run in runs:
        said, _ = run.communicate(timeout=LIMIT)
        assert run.returncode in (0, 1)
        assert "Traceback" not in said, said
    assert run_inline("build", recipe).returncode == 0
    assert fsspec.filesystem("s3", **options).cat_file("bucket/both/manifest.json") == manifest
    assert verify("s3://bucket/both", options) == []


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_hundred_seeds(crawl: Any) -> None:
    """As above, for a hundred seeds, with and without a storm; some end right."""
    ended = [
        ends_right_or_in_a_sentence(
            crawl, Faults(seed, share=SHARES[seed % 3], storm=80 if seed % 4 == 0 else None)
        )
        for seed in range(100, 200)
    ]
    assert any(ended)
