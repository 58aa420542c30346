"""SystemService: what a server is and what it takes."""

from __future__ import annotations

from importlib.metadata import version

from ...index.catalog.catalog import FORMAT
from ...index.kernels.vectors import simd_level
from ...retrieval.encoders.encoder import EMBEDDED
from ..rpc.calls import Call
from ..settings import Settings
from ..wire import system_pb2 as wire


class SystemMethods:
    def __init__(self, settings: Settings):
        self._settings = settings

    def get_server_info(self, request: wire.GetServerInfoRequest, call: Call) -> wire.GetServerInfoResponse:
        s = self._settings
        return wire.GetServerInfoResponse(
            version=version("plait"),
            format=FORMAT,
            limits={**vars(s.limits), **{f"per_key.{name}": most for name, most in vars(s.key_share).items()}},
            workers=s.workers,
            queue=s.queue,
            streams=s.streams,
            deadline_s=s.deadline_s,
            simd=simd_level(),
            processes=s.processes,
            stream_idle_s=s.stream_idle_s,
            encoders=[EMBEDDED, *s.encoders],
        )
