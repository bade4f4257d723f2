"""What a workflow says while it runs: one plan, some progress, a record per package, a summary.

A workflow gets a function `emit` and calls it; who listens (a terminal, JSON lines, a test) is not its business.
One bad package is a record, never an exception.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

Status = Literal["ok", "notneeded", "impossible", "error"]
ResultKind = Literal["package", "pack", "part", "index", "release"]


class PlanMade(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="plan"):
    """What is going to be done, in bytes, before it is. `disk` is the most it takes at once beyond what is there.

    `hours` is how long the requests take within the limit of who answers them; None when there is none that was told.
    """

    packages: int
    files: int
    bytes: int
    bytes_to_move: int
    requests: int
    disk: int
    hours: float | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="progress"):
    """How far the run is. `bytes_per_second` and `eta_seconds` are None until they can be told."""

    step: str
    bytes: int
    bytes_total: int | None
    packages: int
    packages_total: int | None
    bytes_per_second: float | None = None
    eta_seconds: float | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="result"):
    """The outcome of one thing a verb worked on; `kind` says what `id` names.

    `id` is a package name, the hash of a pack, the file name of an unsealed part, `index`, or a release name.
    """

    kind: ResultKind
    id: str
    status: Status
    reason: str = ""
    path: str | None = None
    bytes: int = 0


class Note(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="note"):
    """A sentence worth reading that changes nothing; `warning` when it should not be missed."""

    message: str
    warning: bool = False


class Summary(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="summary"):
    """The last word of a run. `bytes_moved` crossed a transport; `bytes` were wanted; `failed` counts packages.

    Where packs were worked, `unit` says so: `packages` and `failed` count those. `bytes_unread` are here and were not
    looked at, by a check that does not read everything. `flagged` counts packages by what a clone found to have become
    of them on their hub.
    """

    packages: int
    files: int
    bytes: int
    bytes_moved: int
    seconds: float
    failed: int = 0
    sources: dict[str, int] = {}
    bytes_unread: int = 0
    unit: Literal["package", "pack"] = "package"
    flagged: dict[str, int] = {}


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """The error that ended the run: exit code, message and hint. Printed by the JSON sink; workflows raise instead."""

    code: int
    message: str
    hint: str | None


Event = PlanMade | Progress | Result | Note | Summary
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
