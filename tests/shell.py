"""The command line as a user meets it: a process, its stdout, its stderr, its exit code."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-c", "from plait.service.cli import main; main()"]


def plait(
    *arguments: object, code: int = 0, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command. A stack trace, or another exit code than the one expected, fails the test."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done
