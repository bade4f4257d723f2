"""Records that a workflow emits while it runs: the release it reads, one plan, progress, results, notes, a summary.

A workflow calls the function `emit` that it was given and does not know what receives the records (a terminal, JSON
lines, a test). A package that fails is a record, never an exception. As JSON they follow
docs/formats/records.schema.json.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

Status = Literal["ok", "notneeded", "impossible", "error"]
ResultKind = Literal["package", "pack", "part", "index", "release"]


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="opened"):
    """The verified release that a verb reads: its name and date, and the content root that one cites it by.

    `channel` is where it was read, `how` whether its signatures were checked (`fresh`; `offline` if they have expired),
    its content root was given (`archived`), or neither (`unsigned`: `verify --channel` compares packs with what the
    folder's releases list).
    """

    release: str
    created: str
    content_root: str
    channel: str
    how: str


class PlanMade(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="plan"):
    """The work of a run in counts and bytes, before it starts. `disk` is the peak of additional disk space in bytes.

    `hours` is the time that the requests take within the rate limit of the hub; None if no limit is known.
    `requests_to_plan` and `bytes_to_plan` were read from a channel to make the plan; `requests` and `bytes_to_move` are
    what is left to do. An `estimated` plan is made from the listing of a hub: `bytes`, `files` and `requests` are then
    those that the listing states, and `unknown_bytes` and `unknown_files` count the packages of which it states none.
    """

    packages: int
    files: int
    bytes: int
    bytes_to_move: int
    requests: int
    disk: int
    hours: float | None = None
    requests_to_plan: int = 0
    bytes_to_plan: int = 0
    estimated: bool = False
    unknown_bytes: int = 0
    unknown_files: int = 0


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="progress"):
    """How far the run is. `bytes_per_second` and `eta_seconds` are None until they can be estimated."""

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


class Dropped(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="dropped"):
    """A package that an earlier fetch laid out, and that `subset` of the newest fetched `release` does not have.

    `removed` once all of it is; else it is at `path`, and `kept` are files that were changed or are no fetch's.
    """

    package: str
    path: str
    subset: str
    release: str
    removed: bool = False
    kept: tuple[str, ...] = ()


class Note(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="note"):
    """A message that does not change the outcome; `warning` if it needs attention."""

    message: str
    warning: bool = False


class Retry(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="retry"):
    """A request is about to be repeated, after it failed: the number `attempt` of `attempts`, in `seconds`.

    Attempts that get further than those before them are not counted. A retry is emitted once the attempts of `what`
    and the waits between them take more than two seconds.
    """

    what: str
    attempt: int
    attempts: int
    seconds: float
    reason: str


class Summary(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="summary"):
    """The last record of a run. `bytes` is the size of the selection, `bytes_moved` what crossed a transport.

    `packages` and `failed` count what `unit` names. `sources` has the bytes moved, by source. `bytes_unread` exist and
    were not read, by a check that does not read everything. `flagged` counts packages by upstream change. `retryable`
    are those of `failed` that the same command may complete; None if that is not known. `advice` is what helps the
    others. `bytes_read` were read here, by a verb that checks and moves nothing; None for others.
    """

    packages: int
    files: int
    bytes: int
    bytes_moved: int
    seconds: float
    failed: int = 0
    sources: dict[str, int] = {}
    bytes_unread: int = 0
    unit: Literal["package", "pack", "release"] = "package"
    flagged: dict[str, int] = {}
    retryable: int | None = None
    bytes_read: int | None = None
    advice: str = ""


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """The error that ended a run: exit code, message and hint. The JSON sink prints it; workflows raise instead."""

    code: int
    message: str
    hint: str | None


Event = Opened | PlanMade | Progress | Result | Dropped | Note | Retry | Summary
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Discard a record."""
