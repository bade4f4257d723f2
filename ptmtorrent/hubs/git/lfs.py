"""Git LFS through its batch API: oids in, addresses out; a missing object is returned as an error of that object.

The protocol is implemented here because git-lfs restarts downloads from zero, ignores `Retry-After` and keeps two
copies. The address of the batch API follows from the remote's URL only: `.lfsconfig` in a package is an ordinary file
and is not obeyed, so it can neither redirect requests nor hide files.

Source: git-lfs `docs/api/batch.md`, `docs/api/server-discovery.md`, `docs/api/basic-transfers.md`.
"""

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

from ptmtorrent.errors import AuthError, HubError, NotFound, PtmError
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.port import Located
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.moments import Monotonic

BATCH_OBJECTS = 100
BATCH_TYPE = "application/vnd.git-lfs+json"
EXPIRY_MARGIN_SECONDS = 30.0
"""An address that expires sooner is requested again before use."""

_MAX_SECONDS = 1 << 31
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]{0,16384}")
_OURS = {"host", "range", "accept-encoding", "content-length", "transfer-encoding", "connection", "user-agent"}


class LfsObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object: its SHA-256 and size in bytes."""

    oid: str
    size: int


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """The address of an object. `header` is sent to `href` only; it expires after `expires_in` seconds."""

    href: str
    header: dict[str, str] = {}
    expires_in: float | None = None
    expires_at: str | None = None


class _Actions(msgspec.Struct, frozen=True):
    download: Action | None = None


class _Fault(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""


class _Object(msgspec.Struct, frozen=True):
    oid: str
    size: int = -1
    actions: _Actions | None = None
    error: _Fault | None = None


class _Answer(msgspec.Struct, frozen=True):
    objects: list[_Object]
    transfer: str = "basic"
    hash_algo: str = "sha256"


def batch_url(remote: str) -> str:
    """Return the URL of the batch API of the git remote `remote`."""
    base = remote.rstrip("/")
    return f"{base if base.endswith('.git') else base + '.git'}/info/lfs/objects/batch"


def request_batch(
    session: Session, remote: str, objects: Sequence[LfsObject], headers: Mapping[str, str], what: str
) -> dict[str, Action | PtmError]:
    """Request at most 100 objects; return for each its address, or the error for it.

    Raises:
        HubError: the answer is not a batch answer; otherwise as `Session.post`.
    """
    if len(objects) > BATCH_OBJECTS:
        raise ValueError(f"{len(objects)} objects in one batch")
    order = {
        "operation": "download",
        "transfers": ["basic"],
        "objects": [{"oid": one.oid, "size": one.size} for one in objects],
        "hash_algo": "sha256",
    }
    given = {**headers, "Accept": BATCH_TYPE, "Content-Type": BATCH_TYPE}
    body = session.post(batch_url(remote), msgspec.json.encode(order), given, budget="lfs", what=what)
    try:
        answer = decode_json(body, _Answer)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"{what} could not be read: not an LFS batch answer: {error}") from error
    if answer.transfer != "basic" or answer.hash_algo != "sha256":
        raise HubError(f"{what} could not be read: the server offers `{answer.transfer}` with `{answer.hash_algo}`")
    rows = {row.oid: row for row in answer.objects}
    return {one.oid: _check_answer(one, rows.get(one.oid), remote) for one in objects}


def _check_answer(wanted: LfsObject, row: _Object | None, remote: str) -> Action | PtmError:
    name = f"the LFS object `sha256:{wanted.oid}`"
    if row is None:
        return HubError(f"{name}: the server's answer does not mention it")
    if row.error is not None:
        detail = "".join(character for character in row.error.message if character.isprintable())[:200]
        kind = NotFound if row.error.code in {404, 410} else AuthError if row.error.code in {401, 403} else HubError
        return kind(f"{name} is not available: the server answered {row.error.code} {detail}".rstrip())
    action = row.actions.download if row.actions else None
    if action is None:
        return NotFound(f"{name} is not available: the server gives no address for it")
    if row.size != wanted.size:
        return HubError(f"{name}: the pointer states {wanted.size:,} bytes, the server {row.size:,}")
    if not _is_address(action.href, remote):
        return HubError(f"{name}: the server gives the address {action.href[:200]!r}: refused")
    bad = [key for key, value in action.header.items() if not _HEADER_NAME.fullmatch(key) or not _fits(key, value)]
    return HubError(f"{name}: the server asks for the header {bad[0][:100]!r}: refused") if bad else action


def _fits(key: str, value: str) -> bool:
    return key.lower() not in _OURS and _HEADER_VALUE.fullmatch(value) is not None


def _is_address(href: str, remote: str) -> bool:
    try:
        parts = urlsplit(href)
        allowed = {"https"} if urlsplit(remote).scheme == "https" else {"https", "http"}
        return parts.scheme in allowed and bool(parts.hostname) and parts.username is None
    except ValueError:
        return False


@dataclass
class LfsAddresses:
    """The addresses of one package's objects, requested a hundred at a time and each returned once.

    A returned address is dropped: a second call for the same object means that the address did not work.
    """

    session: Session
    remote: str
    headers: Mapping[str, str]
    what: str
    waiting: dict[str, int]
    monotonic: Monotonic = time.monotonic
    _known: dict[str, tuple[Action | PtmError, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, waiting: Mapping[str, int]) -> None:
        """Add objects, as sizes by oid, that later batches request too."""
        with self._lock:
            self.waiting.update(waiting)

    def locate(self, wanted: LfsObject, alternates: tuple[str, ...] = ()) -> Located:
        """Return the current address of `wanted`.

        Raises:
            NotFound, AuthError, HubError: the server's error for this object; otherwise as `request_batch`.
        """
        with self._lock:
            found = self._known.pop(wanted.oid, None)
            if found is None or found[1] <= self.monotonic():
                self._ask(wanted)
                found = self._known.pop(wanted.oid)
        action = found[0]
        if isinstance(action, PtmError):
            raise action
        return Located(url=action.href, headers=dict(action.header), alternates=alternates, budget="")

    def _ask(self, wanted: LfsObject) -> None:
        self.waiting.pop(wanted.oid, None)
        others = [oid for oid in self.waiting if oid not in self._known][: BATCH_OBJECTS - 1]
        objects = [wanted, *(LfsObject(oid=oid, size=self.waiting.pop(oid)) for oid in others)]
        began = self.monotonic()
        try:
            answers = request_batch(self.session, self.remote, objects, self.headers, self.what)
        except PtmError:
            self.waiting.update((one.oid, one.size) for one in objects)
            raise
        for oid, action in answers.items():
            self._known[oid] = (action, began + self._seconds(action))

    def _seconds(self, action: Action | PtmError) -> float:
        """Return how long an address is valid; `expires_in` takes precedence over `expires_at`, as specified."""
        if isinstance(action, PtmError):
            return _MAX_SECONDS
        seconds = action.expires_in or _MAX_SECONDS
        if not action.expires_in and action.expires_at:
            try:
                end = datetime.fromisoformat(action.expires_at)
            except ValueError:
                return _MAX_SECONDS
            end = end if end.tzinfo else end.replace(tzinfo=UTC)
            seconds = (end - self.session.clock()).total_seconds()
            if seconds <= 0:  # an answer that has expired when it arrives says that the clock here is ahead
                return _MAX_SECONDS
        return min(seconds, _MAX_SECONDS) - EXPIRY_MARGIN_SECONDS
