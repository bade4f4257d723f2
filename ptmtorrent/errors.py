"""Every error ptmtorrent raises on purpose, and the exit code it ends the program with.

The classes form one tree; adapters raise nothing else::

    PtmError                     1
    ├── UsageError               2   the command line does not make sense
    ├── PartialFailure           3   finished, some packages failed
    ├── ConfigError             10
    ├── AuthError               11   login, consent or a gated package
    ├── NotFound                12   no such package, subset, release or channel
    ├── StoreError              20
    │   ├── PackMissing         20   all of it is lost
    │   ├── StoreLocked         21
    │   └── NoSpace             22
    ├── UnsupportedFormat       23   written by a newer version
    ├── HubError                30
    │   └── RateLimited         31
    ├── TransportError          40
    │   └── NoSource            41   every source was tried
    ├── IntegrityError          50   bytes are not what was promised
    ├── TrustError              60   a signature, expiry or pin does not hold
    └── Interrupted            130   resumable: run the same command again

Exit codes are public (DESIGN section 7).
"""

from typing import ClassVar


class PtmError(Exception):
    """Something ptmtorrent can name. `message` says what happened to which thing, `hint` what to type next."""

    code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(PtmError):
    """The command line does not make sense."""

    code = 2


class PartialFailure(PtmError):
    """The run finished, and some packages failed; their records say why."""

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


class PackMissing(StoreError):
    """A pack or part that should be in the store is not: all of it is lost, as by damage."""


class StoreLocked(StoreError):
    """Another process holds the store's write lock."""

    code = 21


class NoSpace(StoreError):
    """The disk is full, or would be; the message names the bytes needed."""

    code = 22


class UnsupportedFormat(PtmError):
    """A file asks for features this version does not know."""

    code = 23


class HubError(PtmError):
    """A hub answered with something that cannot be used."""

    code = 30


class RateLimited(HubError):
    """A hub asked us to wait; `retry_after` is in seconds, None when it did not say."""

    code = 31

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class TransportError(PtmError):
    """A source of packs failed."""

    code = 40


class NoSource(TransportError):
    """No source had what was asked for; the message names those that were tried."""

    code = 41


class IntegrityError(PtmError):
    """Bytes are not what a hash, a size or a format promised."""

    code = 50


class TrustError(PtmError):
    """A signature, an expiry date, a version number or a pin does not hold."""

    code = 60


class Interrupted(PtmError):
    """The user asked to stop; everything done so far is kept."""

    code = 130
