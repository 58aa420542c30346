"""`pytest -p fast` (make check-fast): leaves out what needs torch, a server or another process, and what is marked slow."""

import multiprocessing.process
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from paths import TESTS

WITHOUT = {"grpc", "grpc_tools", "sentence_transformers", "torch", "transformers", "triton"}
"""They seem not to be installed; tests skip what needs them."""
ROOMS = ("device", "service", "torture")
"""What is tested there needs them, or processes, throughout."""


class Absent:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name in WITHOUT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent)


def _skip(*_: Any, **__: Any) -> NoReturn:
    pytest.skip("starts a process", allow_module_level=True)


subprocess.Popen.__init__ = _skip
multiprocessing.process.BaseProcess.start = _skip
os.fork = _skip


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path in [TESTS / room for room in ROOMS] else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]
