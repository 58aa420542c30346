"""Limits of each key: the bucket against a by-hand model; refusals with the time to try again; streams that wait."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("grpc", reason="the extra `service` is not installed")
import grpc
from echo_service import Named, call, invoker, serving
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from plait.service.concerns.throttle import Throttle, throttled
from plait.service.limits import PerKey
from plait.service.rpc.interceptor import Rpc


def details(error: Any) -> dict[str, Any]:
    status = rpc_status.from_call(error)
    found = {}
    for detail in status.details if status else ():
        for kind in (error_details_pb2.RetryInfo, error_details_pb2.QuotaFailure):
            if detail.Is(kind.DESCRIPTOR):
                found[kind.DESCRIPTOR.name] = kind.FromString(detail.value)
    return found


@pytest.mark.parametrize("burst", [1, 2, 5])
def test_a_burst_and_not_one_more(burst: int) -> None:
    now = [100.0]
    throttle = Throttle(PerKey(requests_per_minute=240, burst=burst), lambda: now[0])
    assert [throttle.take("a") for _ in range(burst)] == [0.0] * burst
    assert throttle.take("a") == pytest.approx(0.25)
    assert throttle.take("b") == 0.0, "each key has its own"
    now[0] += 0.125
    assert throttle.take("a") == pytest.approx(0.125)
    now[0] += 0.125
    assert throttle.take("a") == 0.0
    now[0] += 1e6
    assert [throttle.take("a") for _ in range(burst)] == [0.0] * burst
    assert throttle.take("a") > 0, "a long pause fills the bucket, not more"


@given(
    rate=st.sampled_from([0.5, 1.0, 2.0, 8.0]),
    burst=st.integers(1, 4),
    pauses=st.lists(st.integers(0, 24).map(lambda n: n / 8), max_size=40),
)
def test_the_bucket_is_the_sum_of_its_refills(rate: float, burst: int, pauses: list[float]) -> None:
    """By hand: every level after every pause, in eighths, which floats hold exactly."""
    now, level = [0.0], float(burst)
    throttle = Throttle(PerKey(requests_per_minute=round(60 * rate), burst=burst), lambda: now[0])
    for pause in pauses:
        now[0] += pause
        level = min(burst, level + pause * rate)
        wait = throttle.take("a")
        if level >= 1:
            assert wait == 0.0
            level -= 1
        else:
            assert wait == (1 - level) / rate


def test_without_a_rate_nothing_is_counted() -> None:
    throttle = Throttle(PerKey(requests_per_minute=0, burst=1))
    assert not any(throttle.take("a") for _ in range(100))


def test_a_refusal_says_when_to_try_again() -> None:
    rates = PerKey(requests_per_minute=30, burst=2)
    with serving([throttled(rates, Throttle(rates))]) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for _ in range(2):
            call(channel, "unary_unary", ["x"])
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "unary_unary", ["x"])
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
    found = details(caught.value)
    assert 0 < found["RetryInfo"].retry_delay.ToNanoseconds() <= 2e9 + 1
    assert found["QuotaFailure"].violations[0].subject == "per_key.requests_per_minute"


def test_calls_under_way_at_the_limit_and_beyond() -> None:
    rates = PerKey(concurrent=2)
    leave, inside = threading.Event(), threading.Semaphore(0)

    def wait(one: Any, context: grpc.ServicerContext) -> Any:
        inside.release()
        leave.wait(10)
        return one

    def of_key(rpc: Rpc) -> None:
        class Somebody:
            id = rpc.values("x-key")[0]

        rpc.key = Somebody  # type: ignore[assignment]

    concerns = [of_key, throttled(rates, Throttle(rates))]
    with (
        serving(concerns, {"Wait": {"unary_unary": wait}}) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        invoke, one = invoker(channel, "unary_unary", "Wait"), Named()
        mine, theirs = [("x-key", "mine")], [("x-key", "theirs")]
        pending = [invoke.future(one, metadata=mine, timeout=30) for _ in range(2)]
        for _ in range(2):
            assert inside.acquire(timeout=10)
        with pytest.raises(grpc.RpcError) as caught:
            invoke(one, metadata=mine, timeout=30)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
        assert details(caught.value)["RetryInfo"].retry_delay.ToNanoseconds() > 0
        pending.append(invoke.future(one, metadata=theirs, timeout=30))
        leave.set()
        for answer in pending:
            answer.result()
        invoke(one, metadata=mine, timeout=30)  # those that ended count no more


def test_messages_of_a_stream_wait_for_their_turn() -> None:
    rates = PerKey(requests_per_minute=60_000, burst=1)
    now, waits = [0.0], []

    class Hurried(Throttle):
        def take(self, key: str) -> float:
            wait = super().take(key)
            waits.append(wait)
            now[0] += wait
            return wait

    throttle = Hurried(rates, lambda: now[0])
    with serving([throttled(rates, throttle)]) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert call(channel, "stream_stream", list("abcde")) == list("ABCDE")
    # The call itself has the first; each message after the first waits once and then has its turn.
    assert waits == [0.0, *[pytest.approx(0.001), 0.0] * 4]


def test_as_many_records_as_keys() -> None:
    throttle = Throttle(PerKey(requests_per_minute=60, burst=1))
    for _ in range(3):
        for key in "abc":
            throttle.enter(key)
            throttle.take(key)
            throttle.leave(key)
    assert len(throttle._of) == 3
