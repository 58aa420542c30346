"""Inputs that fuzzing found worth keeping end well, and so does what hypothesis makes of any bytes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("google.protobuf", reason="the service's packages are not installed")
from torture.targets import ENDS_WELL, TARGETS

CORPUS = Path(__file__).with_name("corpus")
INPUTS = sorted(path.relative_to(CORPUS).as_posix() for path in CORPUS.glob("*/*"))


def ends_well(name: str, data: bytes) -> None:
    with suppress(*ENDS_WELL):
        TARGETS[name](data)


def test_the_corpus_is_small_and_every_target_has_one() -> None:
    assert {name.partition("/")[0] for name in INPUTS} == TARGETS.keys()
    assert len(INPUTS) <= 220 and all((CORPUS / name).stat().st_size <= 8192 for name in INPUTS)


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_were_kept_end_well(name: str) -> None:
    for file in sorted((CORPUS / name).iterdir()):
        try:
            ends_well(name, file.read_bytes())
        except BaseException as error:
            error.add_note(str(file))
            raise


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ("aliases", "segment")])
@settings(max_examples=40, deadline=None)
@given(
    data=st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: repr(v).encode())
)
def test_any_bytes_end_well(name: str, data: bytes) -> None:
    ends_well(name, data)
