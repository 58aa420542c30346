"""What a stranger's program gets: a package with types that a strict checker accepts, and that runs."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

CONSUMER = Path(__file__).with_name("consumer.py")
WRONG = """
import plait
plait.create("x", stroe="flat")  # codespell:ignore
plait.open("x", system="xtr")
plait.connect("x", insecure="yes")
plait.creat("x")
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel, without its kernels, and an sdist."""
    pytest.importorskip("scikit_build_core", reason="scikit-build-core, for development, is not installed")
    folder = tmp_path_factory.mktemp("packages")
    settings = {"wheel.cmake": "false", "wheel.py-api": "py3"}
    code = (
        f"from scikit_build_core.build import *; build_wheel({str(folder)!r}, {settings}); build_sdist({str(folder)!r})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    return folder


def test_packages_say_that_they_have_types(packages: Path) -> None:
    (wheel,), (sdist,) = packages.glob("*.whl"), packages.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        assert {"plait/py.typed", "plait/__init__.py", "plait/index/kernels/_native.pyi"} <= {*archive.namelist()}
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/plait/py.typed") for name in archive.getnames())


def test_a_strict_type_checker_accepts_a_program_that_uses_plait(packages: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyright", reason="pyright, for development, is not installed")
    site = tmp_path / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (wheel,) = packages.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "rest.pth").write_text(str(Path(np.__file__).parents[1]))
    (tmp_path / "pyrightconfig.json").write_text('{"venvPath": ".", "venv": "venv", "typeCheckingMode": "strict"}')
    (tmp_path / "right.py").write_text(CONSUMER.read_text())
    (tmp_path / "wrong.py").write_text(WRONG)
    command = [sys.executable, "-m", "pyright", "--project", str(tmp_path)]
    assert "0 errors, 0 warnings" in _output([*command, "right.py"], tmp_path)
    found = _output([*command, "wrong.py"], tmp_path)
    assert [line for line in range(3, 7) if f"wrong.py:{line}:" not in found] == [], found


def _output(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout


def test_the_program_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(CONSUMER), str(tmp_path / "notes")]
    run = subprocess.run(command, env={**os.environ, "PYTHONSAFEPATH": "1"}, capture_output=True, text=True, check=True)
    assert run.stdout == "a b\n" and run.stderr == ""
