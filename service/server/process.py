"""What a server sets for its whole process, once, before it has threads."""

from __future__ import annotations

import ctypes
import os
import warnings

from threadpoolctl import threadpool_limits

from ...index.disk.descriptors import raise_limit
from ...index.errors import IdleOption
from ...index.kernels.threads import use_threads
from ..settings import Settings

_M_ARENA_MAX = -8
_ARENAS = 2


def settle(settings: Settings) -> None:
    """Shares the cores among the workers, the memory among the threads; takes as many open files as it may have.

    Requests are worked on side by side: BLAS threads of each would spin while they wait for cores that others use. And
    glibc gives every thread an arena, up to eight for each core, which keeps what a search has freed: with some ten
    MiB of scratch for each search, hundreds of MiB that nobody uses. Two arenas are enough,
    because few threads run at once.
    """
    # An option without effect is told to the client, not to the server's log.
    warnings.simplefilter("ignore", IdleOption)
    raise_limit()
    threads = settings.threads or max(1, (os.cpu_count() or 1) // (settings.workers * settings.processes))
    threadpool_limits(threads, user_api="blas")
    use_threads(threads)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
