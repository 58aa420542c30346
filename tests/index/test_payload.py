"""What may be kept of a document can be filtered and sent: every payload within the bounds, and nothing beyond them."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plait.index.errors import InvalidArgument
from plait.index.payload import (
    GREATEST,
    LEAST,
    MAX_BYTES,
    MAX_ID,
    MAX_LEVELS,
    check_id,
    check_ids,
    check_payload,
    encoded,
)

pytest.importorskip("google.protobuf", reason="the extra `service` is not installed")
from plait.service.messages.payloads import read_payload, write_payload
from plait.service.wire import documents_pb2, search_pb2

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
ATOM = st.one_of(
    st.none(), st.booleans(), TEXT, st.integers(LEAST, GREATEST), st.floats(allow_nan=False, allow_infinity=False)
)
PAYLOAD = st.dictionaries(
    TEXT,
    st.recursive(ATOM, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)),
    max_size=4,
)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON, whose 1.0 is its 1; integers stay integers."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool) and isinstance(other, type(one) | int)


def sent(payload: dict[str, Any]) -> dict[str, Any]:
    """Through bytes, in the message in which it lies deepest."""
    response = search_pb2.SearchResponse()
    hit = response.hits.add()
    write_payload(payload, hit.payload, hit.integers)
    (hit,) = search_pb2.SearchResponse.FromString(response.SerializeToString()).hits
    return read_payload(hit.payload, hit.integers)


def nested(levels: int, listed: bool) -> dict[str, Any]:
    """A payload of so many levels."""
    value: Any = 2**60 + 1
    for _ in range(levels - 1):
        value = [value] if listed else {"a": value}
    return {"x": value}


@given(PAYLOAD)
def test_what_is_kept_is_sent_exactly_and_read_by_sqlite(payload: dict[str, Any]) -> None:
    text = encoded("d", payload)
    assert same(payload, sent(payload))
    if text is not None:
        assert json.loads(text) == payload
        assert sqlite3.connect(":memory:").execute("SELECT json_valid(?)", (text,)).fetchone() == (1,)


@pytest.mark.parametrize("listed", [True, False])
def test_the_deepest_payload_goes_everywhere(listed: bool) -> None:
    deepest = nested(MAX_LEVELS, listed)
    assert sent(deepest) == deepest
    text = encoded("d", deepest)
    assert sqlite3.connect(":memory:").execute("SELECT json_valid(?)", (text,)).fetchone() == (1,)
    for levels in (MAX_LEVELS + 1, 100_000):
        with pytest.raises(InvalidArgument, match=rf"document 'd' is nested too deep at x.*{MAX_LEVELS} levels"):
            encoded("d", nested(levels, listed))
    endless: dict[str, Any] = {}
    endless["self"] = endless
    with pytest.raises(InvalidArgument, match="too deep"):
        encoded("d", endless)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"a": {"b": [1, 2**64]}}, r"holds the integer 18446744073709551616 at a\.b\[1\]; integers go from"),
        ({"a": -(2**63) - 1}, r"holds the integer -9223372036854775809 at a"),
        ({"a": 10**5000}, r"holds the integer of \d+ bits at a"),
        ({"a": [float("inf")]}, r"holds inf at a\[0\]; JSON numbers are finite"),
        ({"a": "x\0y"}, r"holds a text with U\+0000 at a"),
        ({"a": "moon \ud83d"}, r"holds a text with half a surrogate pair \(U\+D83D at character 5\) at a"),
        ({"moon \ud83d": 1}, r"has the key .*half a surrogate pair"),
        ({"a": {3: 1}}, r"has the key 3 at a; keys are text"),
        ({"a": {1, 2}}, r"holds set \{1, 2\} at a; it is no JSON"),
        ({"a": b"bytes"}, "holds bytes"),
        ({"a": "x" * (MAX_BYTES + 1)}, f"takes 16,777,2.. bytes as JSON; up to {MAX_BYTES:,}"),
        (["a"], "must be a dict, got"),
    ],
)
def test_what_cannot_be_kept_is_named(payload: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"the payload of document 'd' {message}"):
        encoded("d", payload)


def test_ids_have_bounds() -> None:
    assert check_id("x" * MAX_ID) and check_id("\U0001f600") and check_ids(("a", "b")) == ["a", "b"]
    for bad in ("", None, 5, "x" * (MAX_ID + 1), "half \ud83d"):
        with pytest.raises(InvalidArgument, match="the id"):
            check_id(bad)
    for bad in ("asyncio.run", b"ab", {"a": 1}, 5, None, ["a", 5], ["\ud83d"]):
        with pytest.raises(InvalidArgument, match=r"ids? "):
            check_ids(bad)


def test_integers_of_a_message_must_stand_where_the_payload_has_them() -> None:
    document = documents_pb2.Document(id="a")
    write_payload({"n": 2**60 + 1, "list": [2**61], "yes": True, "small": 5}, document.payload, document.integers)
    assert dict(document.integers.at) == {"/n": str(2**60 + 1), "/list/0": str(2**61)}
    # Who does not know the message reads the nearest doubles.
    assert read_payload(document.payload)["n"] == float(2**60)
    for pointer, digits in (
        *(("/nowhere", "5"), ("/list/7", "5"), ("/list/x", "5"), ("", "5"), ("n", str(2**60)), ("/yes", "1")),
        *(("/n", "5"), ("/n", "x"), ("/n", "1_0"), ("/n", " 1"), ("/n", "9" * 400), ("/n/deeper", "5")),
    ):
        with pytest.raises(InvalidArgument, match="nearest double"):
            read_payload(document.payload, documents_pb2.Integers(at={pointer: digits}))
    assert read_payload(document.payload, documents_pb2.Integers(at={"/small": "5"}))["small"] == 5


@given(st.integers(1, 40), st.booleans())
def test_check_and_encode_agree(levels: int, listed: bool) -> None:
    payload = nested(levels, listed)
    if levels <= MAX_LEVELS:
        check_payload("d", payload)
    else:
        with pytest.raises(InvalidArgument):
            check_payload("d", payload)
