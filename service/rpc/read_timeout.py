"""The messages of calls, each within a time: by itself gRPC waits for one as long as its client likes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import grpc

from ..messages.status import Expired

_LOG = logging.getLogger("plait.service")
_Wait = tuple[float, grpc.ServicerContext, str]
"""When a wait is due, the call that it is for, and what that is told when it does not end in time."""


class ReadTimeout:
    """Reads messages, and ends the calls whose next one has not come whole in time.

    One thread looks after all reads, so that one costs its thread two changes of a dict. It ends with the process.
    """

    def __init__(self, seconds: float, setting: str, remedy: str, most: int | None = None):
        """
        Args:
            setting: the name of what sets `seconds`.
            most: waits at the same time; one more ends the oldest of them. None: any number.
        """
        self._seconds, self._most = seconds, most
        self._why = f"no whole message came within {seconds:g} s, the limit ({setting}); {remedy}"
        self._not_taken = f"the client took no message within {seconds:g} s, the limit ({setting}); read what comes"
        self._reads: dict[_Wait, bool] = {}
        """When each is due, in this order. Whoever takes a read out, its own thread or the one that looks, decides how
        it ended."""
        Thread(target=self._look, name=f"plait-{setting}", daemon=True).start()

    def next(self, given: Iterator[bytes], context: grpc.ServicerContext) -> bytes | None:
        """The next message; None: no more come. Expired: it did not come in time, or the caller has gone."""
        wait = self._began(context, self._why)
        try:
            data, gone = next(given, None), False
        except grpc.RpcError:
            data, gone = None, True
        if not self._reads.pop(wait, False):
            raise Expired(False, self._why)
        if gone:
            raise Expired(True, "the caller has gone")
        return data

    def each(self, given: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """The messages of a stream, each read when it is asked for. Errors: `next`."""
        while (data := self.next(given, context)) is not None:
            yield data

    @contextmanager
    def within(self, context: grpc.ServicerContext) -> Iterator[None]:
        """A block that waits for a client to take a message. Its call ends when that takes too long."""
        wait = self._began(context, self._not_taken)
        try:
            yield
        finally:
            self._reads.pop(wait, False)

    def _began(self, context: grpc.ServicerContext, why: str) -> _Wait:
        wait = time.monotonic() + self._seconds, context, why
        self._reads[wait] = True
        if self._most is not None and len(self._reads) > self._most:
            oldest = next(iter(self._reads.copy()), None)
            if oldest and self._reads.pop(oldest, False):
                _end(*oldest[1:])
        return wait

    def _look(self) -> None:
        while True:
            # What begins during the pause is due after it.
            now, pause = time.monotonic(), self._seconds
            for wait in self._reads.copy():
                due, context, why = wait
                if due > now:
                    pause = due - now
                    break
                if self._reads.pop(wait, False):
                    _end(context, why)
            time.sleep(pause)


def _end(context: grpc.ServicerContext, why: str) -> None:
    """Ends a call whose thread waits for gRPC, which wakes it. `cancel` can say why, which
    the face that is public hides."""
    code, _ = grpc.StatusCode.DEADLINE_EXCEEDED.value
    try:
        context._rpc_event.call.cancel(code, why)  # type: ignore[attr-defined]
    except Exception:
        _LOG.warning("a call ends without its reason", exc_info=True)
        with suppress(Exception):  # one call must not end the thread that looks after all
            context.cancel()
