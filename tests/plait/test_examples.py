"""The examples in the docstrings of public names, run as they stand."""

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait

pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
WITH_EXAMPLES = {
    *("connect", "create", "open"),
    *("EncoderOptions", "Explanation", "Hit", "Hits", "Queries", "Retriever", "Terms", "Tokens"),
    *("from_matrices", "from_vectors", "load_encoder"),
}
"""Errors and `Role` need none; `connect` has that of `Server`, and the face of `Remote` is that of `Retriever`."""


@pytest.mark.parametrize("name", sorted(WITH_EXAMPLES))
def test_the_example_runs(name: str, tmp_path: Path) -> None:
    if name == "connect":
        pytest.importorskip("grpc", reason="the extra `service` is not installed")
    values: dict[str, Any] = {"plait": plait, "np": np, "folder": tmp_path}
    (test, *others) = doctest.DocTestFinder(recurse=False).find(getattr(plait, name), name, globs=values)
    assert test.examples and not others
    runner, said = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS), []
    failed = runner.run(test, out=said.append).failed
    assert not failed, "".join(said)
    for value in test.globs.values():
        if isinstance(value, plait.Retriever):
            value.close()


def test_what_has_no_example_is_an_error_or_said_here() -> None:
    rest = {*plait.__all__} - WITH_EXAMPLES - {"Remote", "Server", "Role"}
    assert all(issubclass(getattr(plait, name), (plait.PlaitError, plait.IdleOption)) for name in rest), rest
