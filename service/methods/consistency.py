"""Reading one's own writes: a request may ask for a state that includes them."""

from __future__ import annotations

import time
from typing import Any

from ...index.errors import Unavailable
from ...retrieval.retriever import Retriever
from ..rpc.calls import Call

_WAIT_S = 1.0
_STEP_S = 0.01


def wait_for_state(retriever: Retriever, request: Any, call: Call) -> None:
    """Returns when the collection has reached the request's `at_least_seq`.

    Raises:
        Unavailable: it has not after a second, so probably another collection's number was given.
    """
    if not request.HasField("at_least_seq"):
        return
    until = time.monotonic() + _WAIT_S
    while (seq := retriever.seq) < request.at_least_seq:
        call.check()
        if time.monotonic() > until:
            raise Unavailable(f"at_least_seq is {request.at_least_seq}, and this collection has come to {seq}")
        time.sleep(_STEP_S)
