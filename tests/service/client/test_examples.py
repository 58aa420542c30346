"""The example clients run as they stand, each against a server of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
from served import serving

CLIENTS = ROOT / "examples" / "client"


def test_examples_run(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        shown = {}
        for name in ("plait_client.py", "any_language.py"):
            call = [sys.executable, str(CLIENTS / name), server.target]
            done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            shown[name] = done.stdout.splitlines()
    ours, any_language = shown["plait_client.py"], shown["any_language.py"]
    assert (
        ours[0].startswith("a ")
        and ours[0].endswith(" 2020")
        and any(line.startswith("fusion fell out") for line in ours)
    )
    assert [line.split()[0] for line in any_language[:2]] == ["east", "north"]
    assert any_language[-1] == "field: options.nprobe" and any_language[-2].startswith(
        "INVALID_ARGUMENT options.nprobe is 0"
    )
