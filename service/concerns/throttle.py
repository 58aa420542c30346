"""Limits of each key: calls a second (a token bucket) and calls under way. One small
record for each key that called."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from ..limits import PerKey
from ..rpc.interceptor import Concern, End, Rpc, refuse

_BUSY_S = 0.1
"""When to try again after too many calls at once: about as long as a slow search takes."""
_SLICE_S = 0.5
"""How long a stream that waits for its turn takes to notice that its caller is gone."""


@dataclass
class Allowance:
    """What one key has left."""

    tokens: float
    filled: float
    """When, on the clock."""
    under_way: int = 0


class Throttle:
    """The allowances of all keys. Their number is that of the key file's keys at most,
    for only valid keys come here."""

    def __init__(self, limits: PerKey, clock: Callable[[], float] = time.monotonic):
        self._rate, self._burst, self._most = limits.requests_per_minute / 60, limits.burst, limits.concurrent
        self._clock = clock
        self._of: dict[str, Allowance] = {}
        self._lock = threading.Lock()

    def take(self, key: str) -> float:
        """Takes one call from a key's bucket. Returns 0, or the seconds until there is one to take."""
        if not self._rate:
            return 0.0
        with self._lock:
            now, one = self._clock(), self._allowance(key)
            one.tokens = min(self._burst, one.tokens + (now - one.filled) * self._rate)
            one.filled = now
            if one.tokens < 1:
                return (1 - one.tokens) / self._rate
            one.tokens -= 1
            return 0.0

    def enter(self, key: str) -> bool:
        """Counts a call as under way, if one more may be."""
        with self._lock:
            one = self._allowance(key)
            if self._most and one.under_way >= self._most:
                return False
            one.under_way += 1
            return True

    def leave(self, key: str) -> None:
        with self._lock:
            self._of[key].under_way -= 1

    def _allowance(self, key: str) -> Allowance:
        return self._of.setdefault(key, Allowance(self._burst, self._clock()))


def throttled(limits: PerKey, throttle: Throttle) -> Concern:
    """Refuses calls beyond a key's limits; messages of a stream wait for their turn instead. Callers without a key
    share one."""

    def concern(rpc: Rpc) -> End:
        key = rpc.key.id if rpc.key else ""
        if not throttle.enter(key):
            most = limits.concurrent
            _exhausted(
                rpc, f"{most} calls of this key are under way, the most there may be", "per_key.concurrent", _BUSY_S
            )
        try:
            if wait := throttle.take(key):
                rate = limits.requests_per_minute
                _exhausted(rpc, f"this key may make {rate} calls a minute", "per_key.requests_per_minute", wait)
        except BaseException:
            throttle.leave(key)
            raise
        rpc.checks.append(_turn(rpc, throttle, key))
        return lambda code: throttle.leave(key)

    return concern


def _turn(rpc: Rpc, throttle: Throttle, key: str) -> Callable[[Any], None]:
    first = True

    def check(message: Any) -> None:
        """The first message is the call itself, which was counted."""
        nonlocal first
        if first:
            first = False
            return
        while rpc.context.is_active() and (wait := throttle.take(key)):
            time.sleep(min(wait, _SLICE_S))

    return check


def _exhausted(rpc: Rpc, message: str, limit: str, retry_s: float) -> None:
    delay = Duration()
    delay.FromNanoseconds(int(retry_s * 1e9) + 1)
    quota = error_details_pb2.QuotaFailure(
        violations=[error_details_pb2.QuotaFailure.Violation(subject=limit, description=message)]
    )
    again = f"{message}; try again in {retry_s:.2f} s"
    refuse(
        rpc.context, grpc.StatusCode.RESOURCE_EXHAUSTED, again, error_details_pb2.RetryInfo(retry_delay=delay), quota
    )
