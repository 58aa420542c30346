"""What this machine can do: instruction sets, memory, GPUs, the builds of torch, Triton
and FAISS, and where they clash."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ..index.catalog import database
from ..index.kernels import vectors as kernels

FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-cuda")
"""Distributions that install the module `faiss`."""
PACKAGES = (
    "plait",
    "apsw",
    "numpy",
    "torch",
    "triton",
    *FAISS,
    "onnxruntime",
    "sentence-transformers",
    "bm25s",
    "ir-measures",
)
_DRIVER = Path("/proc/driver/nvidia/version")
_PROBE = """
import json
found = {}
try:
    import torch
    cuda = torch.cuda.is_available()
    names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())] if cuda else []
    gpus = [{"name": p.name, "bytes": p.total_memory, "architecture": 10 * p.major + p.minor} for p in names]
    found["torch"] = {"cuda": torch.version.cuda, "gpus": gpus, "threads": torch.get_num_threads()}
except ImportError as error:
    found["torch"] = {"error": str(error)}
print(json.dumps(found), flush=True)
try:
    import faiss
    options = faiss.get_compile_options().split()
    found["faiss"] = {"gpus": faiss.get_num_gpus(), "built for GPUs": "GPU" in options, "options": options}
except ImportError as error:
    found["faiss"] = {"error": str(error)}
print(json.dumps(found), flush=True)
"""
"""Run in a process of its own: builds that clash crash it. torch comes first: both then share one OpenMP runtime."""


@dataclass(frozen=True)
class Problem:
    """What does not fit, and what to do about it."""

    what: str
    remedy: str


def examine() -> dict[str, Any]:
    """The facts, as JSON values. `crashed`: importing torch and FAISS ended the process, with this exit code."""

    child = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True)
    lines = child.stdout.splitlines()
    probed = json.loads(lines[-1]) if lines else {}
    return {
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "simd": {"level": kernels.simd_level(), "levels": kernels.simd_levels()},
        "sqlite": {"version": database.VERSION, "problem": database.problem()},
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "driver": _DRIVER.read_text().splitlines()[0] if _DRIVER.exists() else None,
        "interpreted": os.environ.get("TRITON_INTERPRET") == "1",
        "crashed": child.returncode or None,
        "torch": probed.get("torch"),
        "faiss": probed.get("faiss"),
    }


def problems(facts: dict[str, Any]) -> list[Problem]:
    """What is wrong with a machine like this, most serious first. Parts that are not installed are no problem."""
    found, packages, torch, faiss = [], facts["packages"], facts["torch"] or {}, facts["faiss"] or {}
    builds = [name for name in FAISS if name in packages]
    cuda = torch.get("cuda")
    if facts["crashed"]:
        found.append(
            Problem(
                f"importing torch, then FAISS, ends the process with code {facts['crashed']}",
                "keep one FAISS distribution that fits torch's CUDA: faiss-cpu always does",
            )
        )
    if wrong := facts["sqlite"]["problem"]:
        found.append(Problem(wrong, "pip install --force-reinstall --only-binary=:all: apsw"))
    if len(builds) > 1:
        found.append(
            Problem(
                f"{' and '.join(builds)} are installed over one another as the module faiss",
                f"pip uninstall {' '.join(builds)}, then install the one that is wanted",
            )
        )
    for name, part in (("torch", torch), ("faiss", faiss)):
        if "error" in part and (name in packages or (name == "faiss" and builds)):
            found.append(Problem(f"{name} is installed and does not load: {part['error']}", "install it anew"))
    major = cuda.split(".")[0] if cuda else None
    for build, wanted in (("faiss-gpu", "12"), ("faiss-gpu-cuvs", "13")):
        if build in builds and major and major != wanted:
            other = "13" if wanted == "12" else "12"
            found.append(
                Problem(
                    f"{build} is built for CUDA {wanted}, torch {packages['torch']} for CUDA {cuda}",
                    f"pip uninstall {build}; pip install 'plait[gpu-cu{other}]'",
                )
            )
    if facts["driver"] and "torch" in packages and not cuda:
        found.append(
            Problem(
                f"there is an NVIDIA driver, and torch {packages['torch']} is built without CUDA",
                "pip install --force-reinstall torch from PyPI, whose Linux builds have CUDA",
            )
        )
    elif facts["driver"] and cuda and not torch["gpus"]:
        found.append(
            Problem(
                f"there is an NVIDIA driver, and torch for CUDA {cuda} finds no GPU it can use",
                "upgrade the driver to one for this CUDA, or look at CUDA_VISIBLE_DEVICES",
            )
        )
    if cuda and "triton" not in packages:
        found.append(
            Problem("torch has CUDA and Triton is missing: plain torch scores, much slower", "pip install triton")
        )
    for gpu in torch.get("gpus", ()):
        if gpu["architecture"] < 80:
            found.append(
                Problem(
                    f"{gpu['name']} has compute capability {gpu['architecture'] / 10}; kernels are checked from 8.0 on",
                    "use device='cpu', or check results with make test-gpu",
                )
            )
    if facts["interpreted"]:
        found.append(Problem("TRITON_INTERPRET=1: kernels are interpreted, not compiled", "unset TRITON_INTERPRET"))
    if facts["simd"]["level"] != facts["simd"]["levels"][0]:
        level, best = facts["simd"]["level"], facts["simd"]["levels"][0]
        found.append(Problem(f"PLAIT_SIMD={level}, and this machine has {best}", "unset PLAIT_SIMD"))
    return found


def offers(facts: dict[str, Any]) -> dict[str, str]:
    """What is not installed, by what it would bring: the command that installs it."""
    packages, found = facts["packages"], {}
    if "onnxruntime" not in packages:
        found["the embedded encoder"] = "pip install 'plait[demo]'"
    if "torch" not in packages:
        found["checkpoints (ColBERT, PyLate, XTR, SPLADE)"] = "pip install 'plait[encoders]'"
    if "bm25s" not in packages:
        found["BM25"] = "pip install 'plait[lexical]'"
    if not any(name in packages for name in FAISS):
        found["FAISS stores"] = "pip install 'plait[faiss]'"
    if facts["driver"] and not (facts["torch"] or {}).get("cuda"):
        found["this machine's GPU"] = "pip install 'plait[gpu-cu13]' (driver 580 and later; gpu-cu12 for older ones)"
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
