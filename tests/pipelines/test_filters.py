"""Filters of other packages and new ones of ours through whole builds, wherever the workers run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from filters.table import FILTERS
from pipelines.opening import tables
from tests.filters.third_party import SOURCE, images, install, recipe
from tests.pipelines.building import rows
from tests.pipelines.crawls import environment, vlcorpus

HOUSE = Path(__file__).parent.parent.parent
ENGINES = ["inline", "local", pytest.param("ray", marks=pytest.mark.xdist_group("ray"))]


def built(
    folder: Path, wanted: dict[str, Any], *options: str, site: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A build by the command line, with packages of `site` installed."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump(wanted))
    command = [
        sys.executable,
        "-m",
        "pipelines",
        "build",
        str(folder / "recipe.yaml"),
        "--out",
        str(folder / "out"),
    ]
    env = environment()
    if site is not None:
        env["PYTHONPATH"] = os.pathsep.join([str(site), env["PYTHONPATH"]])
    return subprocess.run(
        [*command, *options], capture_output=True, text=True, env=env, cwd=HOUSE, check=False
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_filter_of_another_package_runs_on_every_engine(tmp_path: Path, engine: str) -> None:
    """Its column is measured, its rule drops the blurred images, and the manifest names the package."""
    site = install(tmp_path / "site")
    done = built(tmp_path, recipe(images(tmp_path / "images")), "--engine", engine, site=site)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    measured = {row["member"]: row["sharpness"] for row in rows(out, "signals")}
    assert all((measured[member] < 20) == (int(member) % 2 == 1) for member in measured)
    decided = {row["member"]: row for row in rows(out, "decisions")}
    assert [decided[str(number)]["decision"] for number in range(6)] == ["kept", "dropped"] * 3
    assert decided["1"]["reason"] == "min_sharpness"
    assert decided["1"]["detail"] == f"sharpness {measured['1']:.2f} < 20"
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["filters"] == {
        **{one.name: one.version for one in FILTERS if not one.optional}, "sharpness": 1,
    }  # fmt: skip
    [plugin] = manifest["plugins"]
    assert (plugin["name"], plugin["package"], plugin["version"]) == ("sharpness", "acme-sharpness", "1.2")
    assert "sharpness" in tables(str(out))["signals"].schema.names
    assert manifest["funnel"]["web"]["rules"] == [{"rule": "min_sharpness", "dropped": 3, "failed": 3}]
    # without the package the corpus is still sound, and another build says what is missing
    assert vlcorpus("verify", out).returncode == 0
    again = built(tmp_path, recipe(tmp_path / "images"))
    assert again.returncode == 1
    assert "unknown key signals.sharpness" in again.stderr
    assert "Traceback" not in again.stderr


def test_a_row_that_takes_for_ever_meets_the_deadline(tmp_path: Path) -> None:
    """A filter that does not come back costs its row, which is quarantined; the others are measured."""
    spin = "    while picture.image.width == 301:\n        pass\n    grey = "
    site = install(tmp_path / "site", SOURCE.replace("    grey = ", spin))
    folder = images(tmp_path / "images")
    Image.effect_noise((301, 260), 90).convert("RGB").save(folder / "2.png")
    wanted = recipe(folder, resources={"row_cpu_seconds": 1}, max_quarantine=0.5)
    done = built(tmp_path, wanted, "--engine", "local", "--workers", "1", site=site)
    assert done.returncode == 0, done.stderr
    found = {row["member"]: row["error"] for row in rows(tmp_path / "out", "signals")}
    assert found == {str(number): "deadline" if number == 2 else None for number in range(6)}


def test_a_mistake_of_a_filter_names_filter_and_row(tmp_path: Path) -> None:
    """An exception that is no row's stops the build, with its traceback, the filter and the row."""
    site = install(tmp_path / "site", SOURCE.replace("    grey = ", "    1 / 0\n    grey = "))
    done = built(tmp_path, recipe(images(tmp_path / "images", 2)), "--engine", "inline", site=site)
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stderr
    assert "in the filter sharpness" in done.stderr
    assert "while row web/" in done.stderr
