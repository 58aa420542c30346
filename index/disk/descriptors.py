"""The limits of open and mapped files of a process: what an error says that meets one, and how a server raises it."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress

from ..errors import Unavailable


class NoDescriptors(Unavailable):
    """This process may open or map no more files. The disk is right: what failed works once others are closed."""


def at_limit(error: OSError) -> NoDescriptors | None:
    """What to say of an error that comes from a limit of open or mapped files; None: it comes from something else."""
    if error.errno == errno.ENOMEM:
        return NoDescriptors(
            "this process can map no file more; raise vm.max_map_count or its memory, or compact the collection"
        )
    if error.errno == errno.ENFILE:
        return NoDescriptors("this machine has as many files open as it may; raise fs.file-max, or close some")
    if error.errno != errno.EMFILE:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return NoDescriptors(
        f"this process has as many files open as it may, {soft} (hard limit {_said(hard)}); raise the limit "
        "(`ulimit -n`, or LimitNOFILE= of the systemd unit), or close collections"
    )


def met_limit() -> NoDescriptors | None:
    """What to say where this process cannot open a file now because of the limit; None: it can."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return at_limit(error)
    return None


def raise_limit() -> tuple[int, int]:
    """Raises the soft limit of open files to the hard one, if the system allows it. Returns both as they are then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems refuse what they say is allowed: then the soft limit stays.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def _said(limit: int) -> str:
    return "none" if limit == resource.RLIM_INFINITY else str(limit)
