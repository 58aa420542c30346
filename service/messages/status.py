"""plait's errors as gRPC statuses with google.rpc details, and back."""

from __future__ import annotations

import logging
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ...index import errors
from ...retrieval.routes.options import OPTIONS
from ..limits import BadField
from .brief import NAME, brief

DOMAIN = "plait"
_RETRY_S = 1
_CODES: dict[type[errors.PlaitError], tuple[int, str]] = {
    errors.InvalidArgument: (code_pb2.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    errors.NotFound: (code_pb2.NOT_FOUND, "NOT_FOUND"),
    errors.AlreadyExists: (code_pb2.ALREADY_EXISTS, "ALREADY_EXISTS"),
    errors.FailedPrecondition: (code_pb2.FAILED_PRECONDITION, "FAILED_PRECONDITION"),
    errors.DataLoss: (code_pb2.DATA_LOSS, "DATA_LOSS"),
    errors.Unavailable: (code_pb2.UNAVAILABLE, "UNAVAILABLE"),
    errors.Overloaded: (code_pb2.RESOURCE_EXHAUSTED, "OVERLOADED"),
}
_NO_TLS = ("Socket closed", "Connection reset", "WRONG_VERSION_NUMBER", "CERTIFICATE_VERIFY_FAILED")
"""What a connection ends with where one side speaks TLS and the other does not, or trusts another authority."""
_log = logging.getLogger(__name__)


class Expired(errors.Unavailable):
    """The deadline has passed, or the caller has gone: work stops here."""

    def __init__(self, cancelled: bool, message: str):
        super().__init__(message)
        self.code = code_pb2.CANCELLED if cancelled else code_pb2.DEADLINE_EXCEEDED


class PassedOn(errors.PlaitError):
    """What another process of this server has answered, as it was."""

    def __init__(self, status: status_pb2.Status):
        super().__init__(status.message)
        self.status = status


def to_status(error: Exception, request: Any, request_id: str) -> status_pb2.Status:
    """What a caller learns of an error. Of one that nobody foresaw: only the number under which the log has it."""
    if isinstance(error, PassedOn):
        return error.status
    code, reason = next((c for kind, c in _CODES.items() if isinstance(error, kind)), (code_pb2.INTERNAL, "INTERNAL"))
    if isinstance(error, Expired):
        code, reason = error.code, code_pb2.Code.Name(error.code)
    message = brief(str(error))
    if code == code_pb2.INTERNAL:
        _log.error("request %s failed", request_id, exc_info=error)
        message = f"an error inside of the server; its log has it as request {request_id}"
    status = status_pb2.Status(code=code, message=message)
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata={"request_id": request_id})
    for detail in (info, *_details(error, request, message)):
        status.details.add().Pack(detail)
    return status


def _details(error: Exception, request: Any, message: str) -> list[Any]:
    if isinstance(error, errors.InvalidArgument):
        violation = error_details_pb2.BadRequest.FieldViolation(field=brief(_field(error), NAME), description=message)
        return [error_details_pb2.BadRequest(field_violations=[violation])]
    if isinstance(error, errors.NotFound | errors.AlreadyExists):
        kind = "collection" if getattr(error, "collection", None) else "document"
        name = getattr(error, "collection", None) or getattr(request, "id", "")
        return [
            error_details_pb2.ResourceInfo(resource_type=kind, resource_name=brief(name, NAME), description=message)
        ]
    if isinstance(error, errors.Overloaded):
        return [error_details_pb2.RetryInfo(retry_delay=Duration(seconds=_RETRY_S))]
    return []


def _field(error: errors.InvalidArgument) -> str:
    """The field of the request that is at fault. Errors of a search name its option."""
    return f"options.{error.field}" if error.field in OPTIONS and not isinstance(error, BadField) else error.field


def from_rpc_error(error: grpc.RpcError, unreached: str = "") -> errors.PlaitError:
    """The error that the same call would have raised without a wire between.

    Args:
        unreached: what may be wrong when there was no connection.
    """
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    message = (error.details() if isinstance(error, grpc.Call) else None) or str(error)
    kinds = {number: kind for kind, (number, _) in _CODES.items()}
    number = code.value[0]
    if number in (code_pb2.UNAUTHENTICATED, code_pb2.PERMISSION_DENIED):
        return errors.FailedPrecondition(
            f"{message}; give an api_key that may do this (on the command line: PLAIT_API_KEY, or --api-key)"
        )
    if number == code_pb2.UNAVAILABLE and any(sign in message for sign in _NO_TLS):
        return errors.Unavailable(
            f"{message}; the server may want TLS: give ca, the PEM file of its authority (on the command line: PLAIT_CA, "
            "or --ca)"
        )
    if number == code_pb2.CANCELLED:
        # So do requests end that a server has not yet begun when it stops.
        return errors.Unavailable(f"{message}; the call was ended from outside, perhaps as the server stops: try again")
    if number == code_pb2.DEADLINE_EXCEEDED:
        return errors.Unavailable(f"{message}; give the call more time, or ask for less")
    if number == code_pb2.UNAVAILABLE and unreached and "connect" in message:
        return errors.Unavailable(f"{message}; {unreached}")
    if number == code_pb2.RESOURCE_EXHAUSTED and "larger than max" in message:
        # Said by gRPC itself, before plait has seen the message.
        return errors.InvalidArgument(f"{message} (limits.message_bytes); send less at a time")
    return kinds.get(number, errors.PlaitError)(message)
