"""What a benchmark measured, and on what, as a JSON file of which `benchmarks/report.py` makes a page."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from plait.index.kernels.vectors import simd_level

HOME = Path(__file__).parents[1]
RESULTS = HOME / "benchmarks" / "results"


_LOAD = os.getloadavg()[0]
"""The machine's load over the minute before the benchmark began."""


def add_option(parser: ArgumentParser) -> None:
    """The option `--keep`, which `keep` goes by."""
    parser.add_argument("--keep", metavar="NAME", help="write benchmarks/results/NAME.json (`make report`)")


def keep(options: Namespace, figures: dict[str, Any], packages: Iterable[str] = ()) -> None:
    """With `--keep NAME` writes `results/NAME.json`: the figures with when, on what and how they were measured.

    Args:
        options: of the command; paths are left out, since they are those of one machine.
        packages: distributions that the figures depend on, beside plait and NumPy.
    """
    if options.keep is None:
        return
    settings = {n: v for n, v in vars(options).items() if n not in ("keep", "json") and not isinstance(v, Path)}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**circumstances(packages), "settings": settings, **figures}, indent=1)
    (RESULTS / f"{options.keep}.json").write_text(text + "\n")


def circumstances(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Date, commit, machine, load before and after, and versions."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HOME, capture_output=True, text=True)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, {simd_level()}",
        "load": [round(_LOAD, 1), round(os.getloadavg()[0], 1)],
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("plait", "numpy", *packages)},
        },
    }
