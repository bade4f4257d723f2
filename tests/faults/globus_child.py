"""`ptmtorrent`, and a kill -9 of itself at one step of a Globus job: `python -m tests.faults.globus_child STEP ...`.

A step is a state of the journal, the kill coming right after it was kept; or `posted`, after the service has the task
and before the journal knows; or `renamed`, after the first file of a release got its name.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from ptmtorrent.cli.main import run
from ptmtorrent.transports.globus.jobs import Job, Jobs
from ptmtorrent.transports.globus.service import TransferService

STATES = ("planned", "prepared", "submitted", "active", "landed", "verified", "installed")


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(method: Callable[..., Any], reached: Callable[..., bool]) -> Callable[..., Any]:
    def patched(*arguments: Any, **named: Any) -> Any:
        result = method(*arguments, **named)
        if reached(*arguments):
            kill()
        return result

    return patched


def main() -> int:
    step, *arguments = sys.argv[1:]
    if step in STATES:

        def reached(_: Jobs, job: Job) -> bool:
            return job.state == step

        Jobs.save = after(Jobs.save, reached)  # type: ignore[method-assign]  # what this program is for
    elif step == "posted":
        TransferService.submit = after(TransferService.submit, lambda *_: True)  # type: ignore[method-assign]
    elif step == "renamed":
        TransferService.rename = after(TransferService.rename, lambda *_: True)  # type: ignore[method-assign]
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
