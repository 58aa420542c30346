"""`plait doctor`: its judgement on machines made up, its facts on this one."""

import json
import subprocess
import sys
from typing import Any

import pytest
from plait.device import machine
from plait.device.machine import examine, offers, problems
from plait.index.kernels import vectors as kernels
from plait.service.cli.main import app
from typer.testing import CliRunner

GPU = {"name": "H100", "bytes": 80 << 30, "architecture": 90}


def facts(packages: str = "torch triton faiss-cpu", cuda: str | None = None, **changed: Any) -> dict[str, Any]:
    """A machine where all is well, but for what is said."""
    return {
        "packages": {name: "1.0" for name in packages.split()},
        "driver": "NVRM version: 580" if cuda else None,
        "interpreted": False,
        "crashed": None,
        "simd": {"level": "avx2", "levels": ["avx2", "scalar"]},
        "torch": {"cuda": cuda, "gpus": [GPU] if cuda else []},
        "faiss": {"gpus": 0},
        "sqlite": {"version": "3.54.1", "problem": None},
        **changed,
    }


WELL = [
    facts(),
    facts("numpy", torch={"error": "No module named 'torch'"}, faiss={"error": "No module named 'faiss'"}),
    facts("torch triton faiss-gpu-cuvs", "13.0"),
    facts("torch triton faiss-gpu", "12.8"),
    facts("torch triton faiss-cpu", "12.8"),
]
ILL = {
    "this APSW cannot load": facts(sqlite={"version": "3.54.1", "problem": "this APSW cannot load cksumvfs"}),
    "ends the process with code -11": facts(crashed=-11),
    "faiss-cpu and faiss-gpu are installed over one another": facts("torch triton faiss-cpu faiss-gpu", "12.8"),
    "faiss is installed and does not load: GLIBC": facts(faiss={"error": "GLIBC"}),
    "torch is installed and does not load: libcudart": facts(torch={"error": "libcudart"}),
    "faiss-gpu is built for CUDA 12, torch 1.0 for CUDA 13.0": facts("torch triton faiss-gpu", "13.0"),
    "faiss-gpu-cuvs is built for CUDA 13, torch 1.0 for CUDA 12.8": facts("torch triton faiss-gpu-cuvs", "12.8"),
    "an NVIDIA driver, and torch 1.0 is built without CUDA": facts(driver="NVRM"),
    "torch for CUDA 13.0 finds no GPU": facts(cuda="13.0", torch={"cuda": "13.0", "gpus": []}),
    "Triton is missing": facts("torch", "13.0"),
    "compute capability 7.5": facts(cuda="12.8", torch={"cuda": "12.8", "gpus": [{**GPU, "architecture": 75}]}),
    "TRITON_INTERPRET=1": facts(interpreted=True),
    "PLAIT_SIMD=scalar, and this machine has avx2": facts(simd={"level": "scalar", "levels": ["avx2", "scalar"]}),
}


@pytest.mark.parametrize("well", WELL)
def test_what_fits_is_no_problem(well: dict[str, Any]) -> None:
    assert problems(well) == []


@pytest.mark.parametrize("text", ILL)
def test_what_clashes_is_said_with_a_remedy(text: str) -> None:
    found = problems(ILL[text])
    assert len(found) == 1
    assert text in found[0].what
    assert found[0].remedy


def test_remedies_name_the_other_extra() -> None:
    found = problems(facts("torch triton faiss-gpu", "13.0"))
    assert found[0].remedy == "pip uninstall faiss-gpu; pip install 'plait[gpu-cu13]'"


def test_offers_are_what_is_missing() -> None:
    assert offers(facts("torch onnxruntime bm25s faiss-gpu", "12.8")) == {}
    assert set(offers(facts("onnxruntime bm25s", driver="NVRM"))) == {
        "checkpoints (ColBERT, PyLate, XTR, SPLADE)",
        "FAISS stores",
        "this machine's GPU",
    }


def test_this_machine() -> None:
    found = examine()
    assert found["simd"]["level"] == kernels.simd_level()
    assert found["cpus"] >= 1 and found["memory"] > 1 << 28
    assert found["crashed"] is None
    assert found["packages"]["plait"]
    assert "error" not in (found["torch"] or {}) or "torch" not in found["packages"]


@pytest.mark.parametrize("order", ["torch, faiss", "faiss, torch"])
def test_both_orders_of_import_survive(order: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("faiss")
    code = f"import {order}; print(torch.ones(3).sum().item(), faiss.IndexFlatIP(2).d)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (child.returncode, child.stdout) == (0, "3.0 2\n"), child.stderr


def test_a_crash_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_PROBE", 'import os; print(\'{"torch": {"cuda": null, "gpus": []}}\'); os.abort()')
    found = examine()
    assert found["crashed"] == -6
    assert found["torch"] == {"cuda": None, "gpus": []}
    assert "ends the process with code -6" in problems(found)[0].what


@pytest.mark.parametrize("ill", [False, True])
def test_the_command(monkeypatch: pytest.MonkeyPatch, ill: bool) -> None:
    made = {**examine(), "interpreted": ill}
    monkeypatch.setattr("plait.device.machine.examine", lambda: made)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    said = json.loads(result.stdout)
    assert ("TRITON_INTERPRET" in json.dumps(said["problems"])) is ill
    assert result.exit_code == (1 if said["problems"] else 0)
    shown = CliRunner().invoke(app, ["doctor"])
    assert ("unset TRITON_INTERPRET" in shown.stdout) is ill
    assert kernels.simd_level() in shown.stdout
