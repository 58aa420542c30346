"""The command line as a user meets it: a process, its stdout, its stderr, its exit
code; or the same without a process."""

import io
import os
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from paths import TESTS
from plait.service.cli.main import main

COMMAND = [sys.executable, "-c", "from plait.service.cli.main import main; main()"]


def plait(
    *arguments: object, code: int = 0, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command. A stack trace, or another exit code than the one expected, fails the test."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=TESTS,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def here(*arguments: object, code: int = 0, answer: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a command in this process, which starts no interpreter and loads a model's packages once for many commands.

    Args:
        answer: what a person types.
    """
    run, out, err, ended = ["plait", *map(str, arguments)], io.StringIO(), io.StringIO(), 0
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", run),
        patch.object(sys, "stdin", io.StringIO(answer)),
        patch.dict(os.environ),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")  # not as errors, as pytest has them here
        try:
            main()
        except SystemExit as exit:
            ended = exit.code or 0
    assert ended == code, err.getvalue()
    return subprocess.CompletedProcess(run, code, out.getvalue(), err.getvalue())
