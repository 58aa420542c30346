"""Work that outlives its call: started, watched, cancelled between two steps, and remembered for a while."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from ...index.errors import NotFound, Overloaded, PlaitError
from ...index.stopping import stopping
from ..messages.brief import brief
from ..messages.payloads import write_payload
from ..rpc.calls import Call
from ..wire import operations_pb2 as wire
from .collections import Collections, Opened

_KEPT = 256
_WAITING = 16
_LOOK_S = 1.0

Report = Callable[[int, int], None]
"""Called between two steps with those done, of how many. Raises what ends a cancelled operation."""


class Cancelled(Exception):
    """Raised inside of the work, to end it."""


@dataclass(frozen=True)
class Operation:
    id: str
    kind: str
    collection: str
    asked: str
    """What its caller named: the collection, or an alias of it."""
    state: int = wire.STATE_WAITING
    done: int = 0
    total: int = 0
    started: float = 0.0
    ended: float = 0.0
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.state in (wire.STATE_DONE, wire.STATE_FAILED, wire.STATE_CANCELLED)

    def message(self) -> wire.Operation:
        made = wire.Operation(
            id=self.id,
            kind=self.kind,
            collection=self.collection,
            state=self.state,  # type: ignore[arg-type]
            done=self.done,
            total=self.total,
            error=self.error,
        )
        made.started.FromMilliseconds(int(1000 * self.started))
        if self.ended:
            made.ended.FromMilliseconds(int(1000 * self.ended))
        write_payload(self.result, made.result)
        return made


class Operations:
    """One operation works at a time; others wait for it."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Operation] = OrderedDict()
        self._stopping: set[str] = set()
        self._running: str | None = None
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="plait-operation")

    def start(
        self,
        kind: str,
        collection: str,
        work: Callable[[Report], dict[str, Any]],
        held: ExitStack | None = None,
        asked: str | None = None,
    ) -> Operation:
        """Overloaded: too many wait already.

        Args:
            asked: what the caller named, where that is not the collection.
            held: what is taken over from the caller once it is started, and let go before
                anybody hears that it is over.
        """
        operation = Operation(uuid.uuid4().hex, kind, collection, asked or collection, started=time.time())
        with self._changed:
            waiting = [o for o in self._known.values() if not o.over]
            if len(waiting) >= _WAITING:
                raise Overloaded(f"{len(waiting)} operations wait already; try again when one has ended")
            self._known[operation.id] = operation
            for old in [o.id for o in self._known.values() if o.over][: max(0, len(self._known) - _KEPT)]:
                del self._known[old]
        self._pool.submit(self._run, operation.id, work, held.pop_all() if held else ExitStack())
        return operation

    def get(self, id: str) -> Operation:
        with self._changed:
            if id not in self._known:
                raise _unknown(id)
            return self._known[id]

    def list(self, collection: str) -> list[Operation]:
        with self._changed:
            return [o for o in reversed(self._known.values()) if collection in ("", o.collection)]

    def cancel(self, id: str) -> Operation:
        operation = self.get(id)
        if not operation.over:
            self._stopping.add(id)
        return operation

    def watch(self, id: str, call: Call) -> Iterator[Operation]:
        """The operation, and again whenever it has changed, until it is over."""
        seen = None
        while seen is None or not seen.over:
            with self._changed:
                self._changed.wait_for(lambda last=seen: self.get(id) is not last, _LOOK_S)
                now = self.get(id)
            call.check()
            if now is not seen:
                yield now
            seen = now

    def close(self, within_s: float | None = None) -> bool:
        """Cancels everything and waits for the step under way, so long at most. Returns whether it ended."""
        with self._changed:
            self._stopping.update(self._known)
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._changed:
            return self._changed.wait_for(lambda: self._running is None, within_s)

    def _run(self, id: str, work: Callable[[Report], dict[str, Any]], held: ExitStack) -> None:
        def go_on() -> None:
            if id in self._stopping:
                raise Cancelled

        def report(done: int, total: int) -> None:
            go_on()
            self._change(id, done=done, total=total)

        self._running = id
        try:
            with held, stopping(go_on):
                report(0, 0)
                self._change(id, state=wire.STATE_RUNNING)
                result = work(report)
            self._change(id, result=result, state=wire.STATE_DONE, ended=time.time())
        except Cancelled:
            self._change(id, state=wire.STATE_CANCELLED, ended=time.time())
        except PlaitError as error:
            self._change(id, state=wire.STATE_FAILED, error=brief(str(error)), ended=time.time())
        except Exception as error:
            self._change(id, state=wire.STATE_FAILED, error=type(error).__name__, ended=time.time())
            raise
        finally:
            with self._changed:
                self._running = None
                self._changed.notify_all()

    def _change(self, id: str, **changes: Any) -> None:
        with self._changed:
            self._known[id] = replace(self._known[id], **changes)
            self._changed.notify_all()


def start_on(
    operations: Operations,
    collections: Collections,
    kind: str,
    name: str,
    work: Callable[[Opened, Report], dict[str, Any]],
    held: ExitStack | None = None,
) -> wire.Operation:
    """Starts what works on the collection of this name or alias. Errors: `Collections.use`, `Operations.start`."""
    with collections.use(name) as opened:
        collection = opened.name

    def run(report: Report) -> dict[str, Any]:
        with collections.use(collection) as opened:
            return work(opened, report)

    return operations.start(kind, collection, run, held, name).message()


def _unknown(id: str) -> NotFound:
    return NotFound(f"no operation has the id {id!r}; the server forgets them when it ends")


class OperationMethods:
    own_turns = ("watch_operation",)

    def __init__(self, operations: Operations):
        self._operations = operations

    def get_operation(self, request: wire.GetOperationRequest, call: Call) -> wire.GetOperationResponse:
        return wire.GetOperationResponse(operation=self._known(request.id, call).message())

    def list_operations(self, request: wire.ListOperationsRequest, call: Call) -> wire.ListOperationsResponse:
        found = self._operations.list(request.collection)
        return wire.ListOperationsResponse(operations=[o.message() for o in found])

    def cancel_operation(self, request: wire.CancelOperationRequest, call: Call) -> wire.CancelOperationResponse:
        self._known(request.id, call)
        return wire.CancelOperationResponse(operation=self._operations.cancel(request.id).message())

    def watch_operation(self, request: wire.WatchOperationRequest, call: Call) -> Iterator[wire.WatchOperationResponse]:
        self._known(request.id, call)
        for operation in self._operations.watch(request.id, call):
            yield wire.WatchOperationResponse(operation=operation.message())

    def _known(self, id: str, call: Call) -> Operation:
        """NotFound: there is none, or the caller's key does not count for the collection that it works on."""
        operation, key = self._operations.get(id), call.rpc and call.rpc.key
        if key and not (key.reaches(operation.collection) or key.reaches(operation.asked)):
            raise _unknown(id)
        return operation
