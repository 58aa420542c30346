"""What was measured, and on what, as a JSON file from which documents are written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from plait.index.kernels.vectors import simd_level

HOME = Path(__file__).parents[2]


def write(path: Path, figures: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**circumstances(), **figures}, indent=1) + "\n")


def circumstances() -> dict[str, Any]:
    """When and on what something was measured."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HOME, capture_output=True, text=True)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, {simd_level()}",
        "versions": {"plait": version("plait"), "python": platform.python_version(), "numpy": np.__version__},
    }
