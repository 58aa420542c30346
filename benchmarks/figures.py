"""What a benchmark measured, and on what, as a JSON file of which `benchmarks/report.py` makes a page."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from plait.index.kernels.vectors import simd_level

HOME = Path(__file__).parents[1]
RESULTS = HOME / "benchmarks" / "results"


def write(name: str, figures: dict[str, Any], load: float, packages: Iterable[str] = ()) -> Path:
    """Writes `results/NAME.json`: the figures with when and on what they were measured. Returns the file.

    Args:
        load: the machine's load average over a minute before the run began (`os.getloadavg()[0]`).
        packages: distributions that the figures depend on, beside plait and NumPy.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**circumstances(load, packages), **figures}, indent=1) + "\n")
    return path


def circumstances(load: float, packages: Iterable[str] = ()) -> dict[str, Any]:
    """Date, commit, machine, load before and after, and versions."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HOME, capture_output=True, text=True)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, {simd_level()}",
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("plait", "numpy", *packages)},
        },
    }
