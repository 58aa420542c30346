"""Encoders in half precision: the same tokens, nearly the same vectors, which are unit rows in float32 as ever."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

import torch
from plait.index.errors import InvalidArgument
from plait.retrieval.encoders.encoder import EncoderOptions
from plait.retrieval.encoders.load import load_encoder
from plait.retrieval.models.forward import precision
from test_checkpoint import TEXTS, Tiny, stanford, xtr  # noqa: F401

NEAR = {"float16": 5e-3, "bfloat16": 4e-2}
"""Several roundings to 11 and to 8 bits, through weights larger than those of trained models."""


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("family", ["stanford", "xtr"])
def test_half_precision_changes_vectors_a_little(family: str, dtype: str, request: pytest.FixtureRequest) -> None:
    tiny: Tiny = request.getfixturevalue(family)
    whole, half = tiny.load(), tiny.load(dtype=dtype)
    assert {p.dtype for p in half._model.parameters()} == {getattr(torch, dtype)}  # pyright: ignore[reportAttributeAccessIssue]
    for side in ("encode_documents", "encode_queries"):
        a, b = getattr(whole, side)(TEXTS), getattr(half, side)(TEXTS)
        for name in ("offsets", "ids", "spans", "roles"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert b.vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(b.vectors, axis=1), 1, atol=1e-6)
        apart = np.linalg.norm(a.vectors - b.vectors, axis=1)
        assert 0 < np.sqrt((apart**2).mean()) < NEAR[dtype]
    assert whole.spec.fingerprint != half.spec.fingerprint


@pytest.mark.parametrize(
    ("asked", "device", "architecture", "wanted"),
    [
        (None, "cpu", "bert", torch.float32),
        (None, "cuda:1", "bert", torch.float16),
        (None, "cuda", "t5", torch.bfloat16),
        ("float32", "cuda", "t5", torch.float32),
        ("bfloat16", "cpu", "bert", torch.bfloat16),
    ],
)
def test_a_gpu_runs_in_half_unless_told(asked: str | None, device: str, architecture: str, wanted: torch.dtype) -> None:
    assert precision(asked, device, architecture) == wanted


def test_what_is_no_dtype_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="'int8'; it must be one of float32, float16, bfloat16"):
        EncoderOptions(dtype="int8")
    with pytest.raises(InvalidArgument, match="the embedded encoder runs in int8"):
        load_encoder("minilm", EncoderOptions(dtype="float16"))
