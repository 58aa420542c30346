"""Logs: one JSON object a line on stderr. What was sent, texts, vectors or payloads, is never among the fields."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
import uuid
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

import grpc

from ..rpc.interceptor import End, Rpc

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_LONGEST = 200
_FRAMES = 12
_encode = json.JSONEncoder(default=str).encode
_FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
_ACCESS = logging.getLogger("plait.access")


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, and its `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        made = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": made, "level": record.levelname.lower(), "logger": record.name}
        line["message"] = record.getMessage()
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            # The text of an error may quote what was sent.
            line |= {"error": record.exc_info[0].__name__, "stack": _places(record.exc_info[2])}
        return _encode(line)


def _places(trace: TracebackType | None) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)[-_FRAMES:]]


def to_stderr(level: str, stream: TextIO | None = None) -> logging.Handler:
    """Sends plait's logs and gRPC's to stderr from a level on; the audit log always. Returns the handler."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    # No line shows them, and every record would ask for them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in ("plait", "grpc"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
    logging.getLogger("plait.audit").setLevel(logging.INFO)
    return handler


def facts(rpc: Rpc) -> dict[str, str]:
    """What logs say of a call."""
    known = {
        "method": rpc.method,
        "request_id": rpc.request_id,
        "key": rpc.key.name if rpc.key else "",
        "collection": rpc.collection,
        "peer": rpc.context.peer(),
    }
    return {name: value[:_LONGEST] for name, value in known.items() if value}


def identified(rpc: Rpc) -> End:
    """Gives the call its request id, the caller's own or a new one, and sends it back in the trailing metadata."""
    given = rpc.values("x-request-id")
    rpc.request_id = given[0] if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else uuid.uuid4().hex

    def end(code: grpc.StatusCode) -> None:
        sent = rpc.context.trailing_metadata() or ()
        rpc.context.set_trailing_metadata((*sent, ("x-request-id", rpc.request_id)))

    return end


def logged(rpc: Rpc) -> End:
    """One line for every call: `info` if it went well, `warning` if the caller's fault stopped it, else `error`."""
    started = time.perf_counter()

    def end(code: grpc.StatusCode) -> None:
        level = logging.INFO if code is grpc.StatusCode.OK else logging.ERROR if code in _FAULTS else logging.WARNING
        if _ACCESS.isEnabledFor(level):
            ms = round((time.perf_counter() - started) * 1000, 3)
            fields = {**facts(rpc), "code": code.name, "ms": ms}
            # `Logger.log` would look for the caller's line, which no log of calls shows.
            record = _ACCESS.makeRecord(_ACCESS.name, level, __file__, 0, "call", (), None, extra={"fields": fields})
            _ACCESS.handle(record)

    return end
