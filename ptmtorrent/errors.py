"""The errors of ptmtorrent, and the exit code of each.

The classes form one tree; adapters raise nothing else::

    PtmError                     1
    ├── UsageError               2   invalid command line
    ├── PartialFailure           3   finished, some packages failed
    ├── ConfigError             10
    ├── AuthError               11   login, consent or a gated package
    ├── NotFound                12   no such package, subset, release or channel
    ├── StoreError              20
    │   ├── PackMissing         20   the whole file is lost
    │   ├── StoreLocked         21
    │   └── NoSpace             22
    ├── UnsupportedFormat       23   written by a newer version
    ├── HubError                30
    │   └── RateLimited         31
    ├── TransportError          40
    │   └── NoSource            41   every source was tried
    ├── IntegrityError          50   bytes do not match a hash, size or format
    ├── TrustError              60   a signature, expiry or pin does not hold
    └── Interrupted            130   resumable: run the same command again

Exit codes are public (DESIGN section 7).
"""

import errno
from typing import ClassVar

from ptmtorrent.scrub import scrub


class PtmError(Exception):
    """Base of all errors. `message` says what happened to which thing, `hint` what to type next; both are scrubbed."""

    code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = scrub(message)
        self.hint = hint if hint is None else scrub(hint)
        super().__init__(self.message)


class UsageError(PtmError):
    """The command line is invalid."""

    code = 2


class PartialFailure(PtmError):
    """The run finished and some packages failed; their results say why."""

    code = 3


class ConfigError(PtmError):
    """A setting is missing, malformed or contradictory."""

    code = 10


class AuthError(PtmError):
    """A login, a consent or access to a gated package is missing."""

    code = 11


class NotFound(PtmError):
    """The named package, subset, release, channel or file does not exist."""

    code = 12


class StoreError(PtmError):
    """The store cannot be read or written."""

    code = 20


def out_of_memory(what: str) -> StoreError:
    """Return the error for memory that is too little; `what` says what was not done."""
    return StoreError(
        f"too little memory: {what}",
        hint="free memory or raise its limit (`ulimit -v`, the control group), then run the same command again",
    )


def shortage_of(error: BaseException | None) -> StoreError | None:
    """Return the error for too little memory or too few open files, if that caused `error` or what it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        number = error.errno if isinstance(error, OSError) else None
        if number in {errno.EMFILE, errno.ENFILE}:
            return StoreError(
                "too few open files are allowed",
                hint="raise the limit (`ulimit -n 4096`), then run the same command again",
            )
        text = "" if isinstance(error, PtmError) else str(error)
        if isinstance(error, MemoryError) or number == errno.ENOMEM or any(words in text for words in _NO_MEMORY):
            return out_of_memory(text or type(error).__name__)
        error = error.__cause__ or error.__context__
    return None


_NO_MEMORY = (
    "can't start new thread",
    "failed to map segment",
    "annot allocate memory",
    "not enough memory",
    "bad_alloc",
)


class PackMissing(StoreError):
    """A pack or part is missing from the store; all of its objects are lost."""


class StoreLocked(StoreError):
    """Another process holds the store's write lock."""

    code = 21


class NoSpace(StoreError):
    """The disk is full, or would be; the message names the space needed."""

    code = 22


class UnsupportedFormat(PtmError):
    """A file requires features that this version does not support."""

    code = 23


class HubError(PtmError):
    """A hub returned a response that cannot be used."""

    code = 30


class RateLimited(HubError):
    """A hub asked the client to wait; `retry_after` is in seconds, None if the hub gave no time."""

    code = 31

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class TransportError(PtmError):
    """A source of packs failed."""

    code = 40


class NoSource(TransportError):
    """No source had the requested data; the message names the sources tried."""

    code = 41


class IntegrityError(PtmError):
    """Bytes do not match a hash, a size or a format."""

    code = 50


class TrustError(PtmError):
    """A signature, an expiry date, a version number or a pin does not hold."""

    code = 60


class Interrupted(PtmError):
    """The user interrupted the run; everything done so far is kept."""

    code = 130
