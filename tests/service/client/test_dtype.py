"""What a checkpoint runs in, chosen by a client."""

from __future__ import annotations

from pathlib import Path

import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from served import serving
from test_client import plain


def test_what_a_checkpoint_runs_in_is_chosen_over_the_wire(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="extra encoders is not installed")
    pytest.importorskip("transformers", reason="extra encoders is not installed")
    import sparse_checkpoints as tiny
    from test_coil_collections import coil

    # torch promises the same bits for the same number of threads alone.
    checkpoint = str(coil(tmp_path / "coil"))
    rows = [{"id": str(i), "text": text} for i, text in enumerate(tiny.TEXTS)]
    found = {}
    with (
        serving(tmp_path / "root", encoders=[checkpoint], threads=1) as process,
        plait.connect(process.target) as server,
    ):
        for name, dtype in (("whole", None), ("half", "bfloat16")):
            options = plait.EncoderOptions(query_length=8, dtype=dtype)
            with (
                plait.create(tmp_path / name, encoder=checkpoint, options=options, threads=1) as here,
                server.create(name, encoder=checkpoint, options=options) as there,
            ):
                assert there.info()["encoder"] == here.info()["encoder"]
                assert there.info()["encoder"]["options"]["dtype"] == dtype
                for index in (here, there):
                    index.upsert(rows)
                found[name] = plain(there.search("the red planet"))
                assert found[name] == plain(here.search("the red planet")) != []
    assert found["whole"] != found["half"]
