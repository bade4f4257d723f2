"""One download from a swarm: tracks outstanding and received packs, sources of wrong bytes, and when to give up.

A pack is complete when every piece of its file was hashed *and* libtorrent has reported that its writes are flushed:
libtorrent calls a torrent finished before that.
"""

import errno
import socket
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate, groupby
from pathlib import Path

import libtorrent as lt
import msgspec

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.disk.durable import disk_error, ensure_dir
from ptmtorrent.errors import IntegrityError, Interrupted, NoSource, PtmError, TransportError
from ptmtorrent.http import PACE
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.pieces import alignment_of, pieces_in
from ptmtorrent.model.plan import Extent, PackRequest
from ptmtorrent.model.text import count
from ptmtorrent.network import leave_when_halted
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import WINDOW_BYTES, Delivered, Failed
from ptmtorrent.transports.torrent.session import (
    CHECKING,
    Address,
    TorrentSession,
    TorrentSpec,
    file_bytes,
    spell_address,
)

STALL_SECONDS = 1.0
"""The request window grows by one window for every such interval without payload."""

MAX_WRONG_PIECES = 64
"""The swarm is abandoned after more wrong pieces than this: it is hostile, or its seeds are damaged."""

POLL_SECONDS = 0.1
FLUSH_SECONDS = 60.0

BANNED_GRACE_SECONDS = 1.0
"""Time to wait after every source is banned: received pieces are still being hashed."""

_BANNED = "banned"
_WANTED = 4


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A torrent and the packs it lists, `(pack, bytes)` in file order."""

    torrent: bytes
    packs: tuple[tuple[PackId, int], ...]


class _Joined:
    """A volume in the session: its handle, and the outstanding requests by file."""

    def __init__(self, volume: Volume, handle: lt.torrent_handle, requests: Sequence[PackRequest]) -> None:
        row = {pack: number for number, (pack, _) in enumerate(volume.packs)}
        self.volume = volume
        self.handle = handle
        self.out = {row[request.pack]: request for request in requests}
        self.later = list(self.out)
        self.given_up: dict[int, PackRequest] = {}
        self.resumed: list[int] | None = None
        self._ends = list(accumulate(pieces_in(size) for _, size in volume.packs))

    def pack_of_piece(self, piece: int) -> PackId:
        return self.volume.packs[bisect_right(self._ends, piece)][0]

    def runs(self, row: int, have: Sequence[bool]) -> Iterator[Extent]:
        """Yield the runs of verified pieces of the pack in `row`."""
        first = self._ends[row - 1] if row else 0
        piece_bytes = alignment_of(self.volume.packs[row][1])
        start = first
        for is_here, pieces in groupby(have[first : self._ends[row]]):
            count = sum(1 for _ in pieces)
            if is_here:
                yield Extent(offset=(start - first) * piece_bytes, length=count * piece_bytes)
            start += count


class Download:
    """Joins volumes, connects peers, and runs until every requested pack was received or abandoned."""

    def __init__(self, session: TorrentSession, staging: Path, monotonic: Monotonic) -> None:
        self._session = session
        self._staging = staging
        self._monotonic = monotonic
        self._joined: list[_Joined] = []
        self._useful = 0
        self._attributed = 0
        self._last_payload = monotonic()
        self._wrong: Counter[PackId] = Counter()
        self._tried: dict[str, str] = {}

    @property
    def quiet_seconds(self) -> float:
        """Seconds since payload last came at the least rate, or was first requested; safe to read from any thread.

        Bytes that were not requested, or had a wrong hash, are no payload. Hashing existing files, and waiting for the
        caller to consume outcomes, do not count.
        """
        self._update_quiet()
        return max(0.0, self._monotonic() - self._last_payload)

    @property
    def polluted(self) -> bool:
        """Whether any source sent wrong bytes."""
        return self._wrong.total() > 0

    def join(
        self, volume: Volume, requests: Sequence[PackRequest], *, trackers: Sequence[str], web_seeds: Sequence[str]
    ) -> None:
        """Join the swarm of `volume`, requesting only the packs of `requests`."""
        ensure_dir(self._staging)
        part = TorrentSpec(
            torrent=volume.torrent,
            folder=self._staging,
            priorities=[0] * len(volume.packs),
            trackers=trackers,
            web_seeds=web_seeds,
        )
        handle = self._session.add(part)
        self._joined.append(_Joined(volume, handle, requests))
        self._tried.update(dict.fromkeys(web_seeds, ""))
        self._request_packs()

    def connect(self, peers: Sequence[Address], stop: Stop) -> None:
        """Connect to `peers` for every volume, until `stop` is set; a name that does not resolve is in the error."""
        for host, port in peers:
            self._tried[spell_address((host, port))] = ""
            try:
                found = leave_when_halted(
                    partial(_addresses, host, port),
                    lambda: stop.raise_if_set("the transfer"),
                    seconds=PACE.connect,
                )
            except Interrupted:
                return
            except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be encoded for a resolver
                self._tried[spell_address((host, port))] = getattr(error, "strerror", None) or str(error)
                continue
            for address in sorted(found):
                for joined in self._joined:
                    joined.handle.connect_peer((address, port))

    def run(self, stop: Stop, patience_seconds: float) -> Iterator[Delivered | Failed]:
        """Yield one outcome for each request; return early, without further outcomes, when `stop` is set.

        Raises:
            StoreError: staging cannot be written; `NoSpace` when its disk is full.
        """
        self._last_payload = self._monotonic()
        while any(joined.out for joined in self._joined) and not stop.is_set():
            self._poll_alerts(POLL_SECONDS)
            for joined in self._joined:
                yield from self._finished(joined, stop)
            if self.quiet_seconds > STALL_SECONDS:
                self._request_packs()
            if (
                self.quiet_seconds > patience_seconds
                or self._wrong.total() > MAX_WRONG_PIECES
                or self._all_sources_banned()
            ):
                yield from self._give_up()

    def partial(self) -> list[Delivered]:
        """Return the verified and flushed runs of pieces of incomplete packs.

        Raises:
            TransportError: writes to staging did not finish in time.
        """
        found: list[Delivered] = []
        for joined in self._joined:
            left = {**joined.out, **joined.given_up}
            if not left or joined.handle.status(0).state in CHECKING:
                continue
            self._flush(joined, Stop())
            have = joined.handle.status(lt.status_flags_t.query_pieces).pieces
            found += [self._delivered(left[row], run) for row in left for run in joined.runs(row, have)]
        return found

    def _delivered(self, request: PackRequest, run: Extent) -> Delivered:
        moved = min(run.length, self._session.payload().received - self._attributed)
        self._attributed += moved
        return Delivered(
            request=request,
            extent=run,
            path=self._staging / pack_path(request.pack),
            start=run.offset,
            moved=moved,
            source="torrent",
            temporary=False,
        )

    def _finished(self, joined: _Joined, stop: Stop) -> Iterator[Delivered]:
        if not joined.out or joined.handle.status(0).state in CHECKING:
            return
        progress = file_bytes(joined.handle)
        if joined.resumed is None:
            joined.resumed = progress
        rows = [row for row, request in joined.out.items() if progress[row] == request.size]
        if not rows or not self._flush(joined, stop):
            return
        for row in rows:
            request = joined.out.pop(row)
            yield Delivered(
                request=request,
                extent=_whole(request),
                path=self._staging / pack_path(request.pack),
                start=0,
                moved=self._moved(request.size - joined.resumed[row]),
                source="torrent",
                temporary=True,
            )
            self._last_payload = self._monotonic()
        self._request_packs()

    def _flush(self, joined: _Joined, stop: Stop) -> bool:
        """Return whether all hashed pieces were flushed to their files; False when `stop` is set first."""
        joined.handle.flush_cache()
        deadline = self._monotonic() + FLUSH_SECONDS
        while self._monotonic() < deadline:
            if joined.handle in self._poll_alerts(POLL_SECONDS):
                return True
            if stop.is_set():
                return False
        raise TransportError(f"`{self._staging}` accepted no writes for {FLUSH_SECONDS:.0f} seconds")

    def _moved(self, limit: int) -> int:
        """Attribute payload to a pack: at most what it lacked; the last pack takes the remainder."""
        left = self._session.payload().received - self._attributed
        share = left if not any(joined.out for joined in self._joined) else min(left, limit)
        self._attributed += share
        return share

    def _request_packs(self) -> None:
        """Request outstanding packs in order, up to the window."""
        window = WINDOW_BYTES * (1 + int(self.quiet_seconds / STALL_SECONDS))
        open_bytes = sum(
            request.size for joined in self._joined for row, request in joined.out.items() if row not in joined.later
        )
        for joined in self._joined:
            while joined.later and open_bytes < window:
                row = joined.later.pop(0)
                joined.handle.file_priority(row, _WANTED)
                open_bytes += joined.out[row].size if row in joined.out else 0

    def _poll_alerts(self, seconds: float) -> list[lt.torrent_handle]:
        """Process pending alerts; return the handles whose writes are flushed."""
        flushed: list[lt.torrent_handle] = []
        for alert in self._session.alerts(seconds):
            if isinstance(alert, lt.cache_flushed_alert):
                flushed.append(alert.handle)
            elif isinstance(alert, lt.hash_failed_alert):
                self._wrong[self._find(alert.handle).pack_of_piece(alert.piece_index)] += 1
            elif isinstance(alert, lt.file_error_alert):
                self._file_error(alert)
            elif isinstance(alert, (lt.peer_disconnected_alert, lt.peer_ban_alert)):
                self._record_failure(spell_address(alert.endpoint), alert)
            elif isinstance(alert, lt.url_seed_alert):
                self._tried[alert.server_url()] = alert.error_message() or alert.error.message()
        return flushed

    def _update_quiet(self) -> None:
        """Reset the timer when useful payload came at the least rate since then, or when nothing is being requested."""
        useful, now = self._session.payload().useful, self._monotonic()
        states = [joined.handle.status(0) for joined in self._joined if joined.out]
        asking = [state for state in states if state.state not in CHECKING and not state.is_finished]
        came = useful - self._useful
        if not asking or (came > 0 and came >= PACE.least_rate * (now - self._last_payload)):
            self._useful, self._last_payload = useful, now

    def _all_sources_banned(self) -> bool:
        """Whether every given source is banned, and no tracker or DHT can find others."""
        banned = [what.startswith(_BANNED) for what in self._tried.values()]
        exhausted = bool(banned) and all(banned) and not self._session.finds_peers
        return exhausted and self.quiet_seconds > BANNED_GRACE_SECONDS

    def _find(self, handle: lt.torrent_handle) -> _Joined:
        return next(joined for joined in self._joined if joined.handle == handle)

    def _record_failure(self, peer: str, alert: lt.peer_disconnected_alert | lt.peer_ban_alert) -> None:
        if isinstance(alert, lt.peer_ban_alert):
            self._tried[peer] = f"{_BANNED}: sent wrong bytes"
        elif peer in self._tried and not self._tried[peer].startswith(_BANNED):
            self._tried[peer] = alert.error.message()

    def _file_error(self, alert: lt.file_error_alert) -> None:
        joined, number = self._find(alert.handle), int(alert.error.value())
        if number == errno.ENOENT:
            # A peer requested a pack that was already decoded and deleted; the other packs continue.
            joined.handle.clear_error()
            joined.handle.resume()
            return
        needed = sum(request.size for joined in self._joined for request in joined.out.values())
        error = OSError(number, alert.error.message())
        raise disk_error(error, Path(alert.filename()), needed) from error

    def _give_up(self) -> Iterator[Failed]:
        for joined in self._joined:
            for request in joined.out.values():
                yield Failed(
                    request=request, extent=_whole(request), source="torrent", error=self._failure(request.pack)
                )
            joined.given_up.update(joined.out)
            joined.out.clear()

    def _failure(self, pack: PackId) -> PtmError:
        tried = ", ".join(f"`{source}`" + (f" ({what})" if what else "") for source, what in self._tried.items())
        tried = tried or "no peers: none given with --peer, none found"
        if wrong := self._wrong[pack]:
            return IntegrityError(
                f"the pack `{pack}` is incomplete: {count(wrong, 'received piece')} had a wrong hash; tried {tried}",
                hint="add another peer with `--peer HOST:PORT`, or use `--transport auto`",
            )
        return NoSource(
            f"the pack `{pack}` was not received: fewer than {PACE.least_rate} bytes a second for"
            f" {self.quiet_seconds:.0f} seconds; tried {tried}",
            hint="add another peer with `--peer HOST:PORT`, or use `--transport auto`",
        )


def _addresses(host: str, port: int) -> set[str]:
    return {str(item[4][0]) for item in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}


def _whole(request: PackRequest) -> Extent:
    return Extent(offset=0, length=request.size)
