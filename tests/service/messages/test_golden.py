"""Messages as they were sent before mean the same now, and are still sent as the same bytes.

`tests/golden/wire/v1.json` has a message of most kinds with its bytes. After a release nothing in it changes: what is
added to the protocol gets a new entry.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from paths import TESTS

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from google.protobuf.message_factory import GetMessageClass
from served import message, pool

GOLDEN = TESTS / "golden" / "wire" / "v1.json"
MESSAGES: list[dict[str, Any]] = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("golden", MESSAGES, ids=[f"{i}-{m['type']}" for i, m in enumerate(MESSAGES)])
def test_bytes_keep_their_meaning(golden: dict[str, Any]) -> None:
    kind = pool().FindMessageTypeByName(f"plait.v1.{golden['type']}")
    made, data = message(kind, golden["json"]), base64.b64decode(golden["bytes"])
    assert GetMessageClass(kind).FromString(data) == made
    assert made.SerializeToString(deterministic=True) == data


def test_the_python_client_sends_what_it_always_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    from plait.index.tokens import from_matrices
    from plait.retrieval.encoders.encoder import EncoderOptions
    from plait.service.client.remote import Remote
    from plait.service.client.server import Server

    class Sent(Exception):
        pass

    class Channel:
        class grpc:
            @staticmethod
            def unary_unary(path: str, **_: Any) -> str:
                return path

            unary_stream = stream_stream = unary_unary

        def call(self, method: str, request: Any) -> Any:
            raise Sent(request.SerializeToString(deterministic=True))

    index: Any = Remote(Channel(), "c")  # type: ignore[arg-type]
    tokens = from_matrices([np.arange(4, dtype=np.float16).reshape(2, 2)])
    calls = {
        "a search": lambda: index.search("moon", k=3, mode="hybrid", weights=(1, 2), filter={"year": 2020}, nprobe=4),
        "a least score": lambda: index.search("moon", mode="hybrid", min_score=0.25),
        "given tokens": lambda: index.search(tokens, k=1, missing="zero", exact=True),
        "a write": lambda: index.upsert([{"id": "a", "text": "x", "n": 1, "deep": [None, {"y": 0.5}]}], durable=False),
        "a delete": lambda: index.delete(filter={"or": [{"exists": "a"}, {"range": {"b": {"gt": "x"}}}]}, dry_run=True),
    }
    server: Any = Server("127.0.0.1:1")
    server._channel.grpc.close()
    server._channel = Channel()
    calls["a creation"] = lambda: server.create("c", encoder=None, options=EncoderOptions(64, dtype="bfloat16"), dim=4)
    for name, call in calls.items():
        (golden,) = [m for m in MESSAGES if m.get("name") == name]
        with pytest.raises(Sent) as sent:
            call()
        assert sent.value.args[0] == base64.b64decode(golden["bytes"]), name
