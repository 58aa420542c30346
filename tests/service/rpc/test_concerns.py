"""What stands around every RPC, on a little service of all four kinds: order, codes,
request ids, logs, metrics, traces."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("grpc", reason="the extra `service` is not installed")
import grpc
from echo_service import KINDS, Named, call, invoker, serving
from plait.service.concerns import logs
from plait.service.concerns.logs import identified, logged, to_stderr
from plait.service.rpc.interceptor import Rpc, refuse, stage_ended

MARKER = "zebra-7f3a"


@pytest.fixture
def lines() -> Iterator[Any]:
    """What the server logged so far, as records."""
    stream = io.StringIO()
    kept = {name: logging.getLogger(name) for name in ("plait", "grpc", "plait.audit")}
    before = {name: (one.handlers[:], one.level, one.propagate) for name, one in kept.items()}
    to_stderr("debug", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for name, (handlers, level, propagate) in before.items():
        kept[name].handlers[:], kept[name].propagate = handlers, propagate
        kept[name].setLevel(level)


def failing(channel: grpc.Channel, kind: str, text: str, **more: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, kind, [text], **more)
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_concerns_surround_every_kind(kind: str) -> None:
    seen: list[Any] = []

    def concern(name: str) -> Any:
        def around(rpc: Rpc) -> Any:
            rpc.checks.append(lambda message: seen.append((name, message.text)))
            seen.append(f"+{name}")
            return lambda code: seen.append((f"-{name}", code.name))

        return around

    with serving([concern("a"), concern("b")]) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert " ".join(call(channel, kind, ["x", "y"])) == "X Y"
    messages = ["x", "y"] if kind.startswith("stream") else ["x y"]
    assert seen == ["+a", "+b", *((name, text) for text in messages for name in "ab"), ("-b", "OK"), ("-a", "OK")]


@pytest.mark.parametrize("kind", KINDS)
def test_codes_request_ids_and_lines(kind: str, lines: Any) -> None:
    with serving([identified, logged]) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call(channel, kind, ["fine"], metadata=[("x-request-id", "mine-1")])
        gone = failing(channel, kind, "abort", metadata=[("x-request-id", "mine-2")])
        crash = failing(channel, kind, f"crash-{MARKER}")
    assert gone.code() is grpc.StatusCode.NOT_FOUND and ("x-request-id", "mine-2") in gone.trailing_metadata()
    assert crash.code() is grpc.StatusCode.INTERNAL and MARKER not in crash.details()
    made = dict(crash.trailing_metadata())["x-request-id"]
    assert len(made) == 32 and made in crash.details()
    access = [line for line in lines() if line["logger"] == "plait.access"]
    assert [(r["request_id"], r["code"], r["level"]) for r in access] == [
        ("mine-1", "OK", "info"),
        ("mine-2", "NOT_FOUND", "warning"),
        (made, "INTERNAL", "error"),
    ]
    assert all(r["method"] == f"/test.{kind}/Echo" and r["ms"] >= 0 and "127.0.0.1" in r["peer"] for r in access)
    (internal,) = [line for line in lines() if line["message"] == "internal error"]
    assert internal["error"] == "RuntimeError" and any("_answer" in place for place in internal["stack"])
    assert MARKER not in json.dumps(lines())


def test_a_caller_who_leaves_is_cancelled_one_who_cannot_wait_is_late(lines: Any) -> None:
    entered = threading.Event()

    def wait(one: Any, context: grpc.ServicerContext) -> Any:
        entered.set()
        while context.is_active():
            time.sleep(0.01)
        raise ValueError(one.text)  # as work does that finds nobody waiting

    concerns = [identified, logged]
    with (
        serving(concerns, {"Wait": {"unary_unary": wait}}) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        invoke, one = invoker(channel, "unary_unary", "Wait"), Named(text=MARKER)
        with pytest.raises(grpc.RpcError) as late:
            invoke(one, timeout=0.2)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
        assert entered.wait(5)
        entered.clear()
        pending = invoke.future(one, timeout=30)
        assert entered.wait(5)
        pending.cancel()
    codes = [line["code"] for line in lines() if line["logger"] == "plait.access"]
    assert codes == ["DEADLINE_EXCEEDED", "CANCELLED"] and MARKER not in json.dumps(lines())


@pytest.mark.parametrize("given", ["", "a" * 129, "two words", 'quo"te'])
def test_a_request_id_that_could_spoil_a_log_is_replaced(given: str) -> None:
    seen = []

    def note(rpc: Rpc) -> None:
        seen.append(rpc.request_id)

    with serving([identified, note]) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call(channel, "unary_unary", ["x"], metadata=[("x-request-id", given)])
    assert len(seen[0]) == 32 and seen[0] != given
    assert logs._REQUEST_ID.fullmatch("a" * 128)


def test_a_level_silences_those_below_and_never_the_audit(lines: Any) -> None:
    stream = io.StringIO()
    to_stderr("error", stream)
    logging.getLogger("plait.access").warning("call")
    logging.getLogger("plait.audit").info("admin call", extra={"fields": {"key": "k"}})
    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert line["message"] == "admin call" and line["key"] == "k"


def test_stages_are_heard_by_the_call_of_their_thread_alone() -> None:
    heard: dict[str, list[Any]] = {}

    def listen(rpc: Rpc) -> None:
        rpc.observers.append(lambda *told: heard.setdefault(rpc.request_id, []).append(told))

    def work(one: Any, context: grpc.ServicerContext) -> Any:
        stage_ended(one.text, 0.5, 3)
        return one

    concerns = [identified, listen]
    with (
        serving(concerns, {"Work": {"unary_unary": work}}) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        for id in "abc":
            call(channel, "unary_unary", [f"stage-{id}"], metadata=[("x-request-id", id)], method="Work")
    assert heard == {id: [(f"stage-{id}", 0.5, 3)] for id in "abc"}
    stage_ended("nobody", 1.0)
    assert len(heard) == 3


@pytest.fixture(scope="module")
def open_channel() -> Iterator[grpc.Channel]:
    with serving([identified, logged]) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x-request-id", "traceparent", "tracestate", "authorization", "x-other", "blob-bin"]),
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200),
        ),
        max_size=8,
    )
)
def test_no_metadata_breaks_a_call(open_channel: grpc.Channel, metadata: list[tuple[str, str]]) -> None:
    sent: list[Any] = [(name, value.encode()) if name.endswith("-bin") else (name, value) for name, value in metadata]
    assert call(open_channel, "unary_unary", ["x"], metadata=sent) == ["X"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_ends_the_concerns_before_it_and_not_those_after(kind: str) -> None:
    ended: list[tuple[str, str]] = []

    def outer(rpc: Rpc) -> Any:
        return lambda code: ended.append(("outer", code.name))

    def refusing(rpc: Rpc) -> None:
        refuse(rpc.context, grpc.StatusCode.PERMISSION_DENIED, "no")

    def inner(rpc: Rpc) -> Any:
        return lambda code: ended.append(("inner", code.name))

    def broken(rpc: Rpc) -> None:
        raise ValueError(MARKER)

    for wrong, code in ((refusing, "PERMISSION_DENIED"), (broken, "INTERNAL")):
        with serving([outer, wrong, inner]) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            error = failing(channel, kind, "x")
        assert error.code().name == code and MARKER not in error.details()
        assert ended == [("outer", code)]
        ended.clear()
