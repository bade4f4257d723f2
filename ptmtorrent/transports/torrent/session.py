"""One libtorrent session, as seeder or as leecher, under one of two profiles.

`loopback` uses plain TCP and does not announce itself: no uTP (which is slow on loopback), no DHT, no local
discovery, no port mapping. `wan` adds uTP, whose congestion control yields to other traffic, and DHT. Neither uses
local discovery, port mapping or WebTorrent's STUN server. The numbers were measured on libtorrent 2.1.1.
"""

import ctypes
import ipaddress
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import libtorrent as lt
import msgspec

from ptmtorrent import __version__
from ptmtorrent.errors import IntegrityError, StoreError, TransportError

Profile = Literal["loopback", "wan"]
Address = tuple[str, int]
"""`(host, port)`; the host a name, an IPv4 or an IPv6 address without brackets."""

LISTEN_SECONDS = 5.0

ENDING_SECONDS = 5.0
"""Time allowed for pending writes when a session is closed."""

_MIB = 1 << 20
_LIMITS: Any = {
    "max_buffer_size": 64 * _MIB,
    "max_pieces": 1 << 24,
    "max_decode_tokens": 50_000_000,
    "max_decode_depth": 32,
}
"""libtorrent's own limits (10 MB, 2 Mi pieces) refuse the v2 torrent of a large volume."""

_CATEGORY = lt.alert_category
_COMMON: dict[str, Any] = {
    "user_agent": f"ptmtorrent/{__version__}",
    "peer_fingerprint": "-PM0001-",
    "alert_mask": _CATEGORY.error | _CATEGORY.status | _CATEGORY.storage | _CATEGORY.peer | _CATEGORY.connect,
    "alert_queue_size": 20_000,
    "aio_threads": 4,
    "hashing_threads": 2,
    "checking_mem_usage": 1024,
    "file_pool_size": 500,
    "send_buffer_watermark": 4 * _MIB,
    "send_buffer_watermark_factor": 200,
    "send_buffer_low_watermark": _MIB,
    # A peer may ask for 2 MiB ahead. libtorrent takes all it is allowed, and what it received but has not hashed when
    # it is killed is fetched again: with 4,000 blocks and four seeders that was 90 MiB a kill, with 128 it is 15.
    "max_allowed_in_request_queue": 128,
    "max_retry_port_bind": 0,
    "listen_system_port_fallback": False,
    "stop_tracker_timeout": 1,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "webtorrent_stun_server": "",
}
_SEEDER: dict[str, Any] = {
    "max_queued_disk_bytes": 256 * _MIB,
    "connections_limit": 4000,
    "unchoke_slots_limit": -1,
    "choking_algorithm": 0,
    # libtorrent's limits on active torrents silently stop a seeder from announcing the rest.
    "active_seeds": -1,
    "active_downloads": -1,
    "active_limit": -1,
    "active_tracker_limit": -1,
    "active_dht_limit": -1,
}
_LEECHER: dict[str, Any] = {
    # A kill wastes unfinished pieces, so few are open at a time: few peers, short queues, and peers that complete
    # the pieces others started.
    "connections_limit": 12,
    "max_out_request_queue": 128,
    "request_queue_time": 1,
    "whole_pieces_threshold": 0,
    "prioritize_partial_pieces": True,
    "max_queued_disk_bytes": 8 * _MIB,
    "urlseed_max_request_bytes": 4 * _MIB,
    "max_web_seed_connections": 2,
    "ban_web_seeds": True,
    # A full window is temporary: peers with the remaining pieces are needed as soon as the caller consumes outcomes.
    "close_redundant_connections": False,
    "min_reconnect_time": 2,
    "max_failcount": 10,
}
_PROFILES: dict[Profile, dict[str, Any]] = {
    "loopback": {
        "enable_dht": False,
        "dht_bootstrap_nodes": "",
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        "mixed_mode_algorithm": 0,
        "allow_multiple_connections_per_ip": True,
        "connection_speed": 200,
    },
    "wan": {"enable_dht": True, "enable_outgoing_utp": True, "enable_incoming_utp": True, "connection_speed": 100},
}


class TorrentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of a torrent in a session; `folder` contains its root `packs`.

    `priorities` has one number per file, 0 for files not requested. Existing files are hashed first, unless `have`
    states for each piece whether it is present and verified. `upload_only` never requests pieces.
    """

    torrent: bytes
    folder: Path
    priorities: Sequence[int]
    have: Sequence[bool] | None = None
    upload_only: bool = False
    trackers: Sequence[str] = ()
    web_seeds: Sequence[str] = ()


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Payload bytes since the session started; `received` includes wasted bytes, `useful` does not."""

    received: int
    useful: int
    sent: int


CHECKING = {
    lt.torrent_status.checking_files,
    lt.torrent_status.checking_resume_data,
    lt.torrent_status.queued_for_checking,
}
"""States in which existing files are still being hashed."""


def file_bytes(handle: lt.torrent_handle) -> list[int]:
    """Return the verified bytes of each file."""
    return handle.file_progress(lt.file_progress_flags_t.piece_granularity)


def profile_for(hosts: Iterable[str]) -> Profile:
    """Return `loopback` when `hosts` is not empty and all are loopback addresses, else `wan`."""
    listed = list(hosts)
    return "loopback" if listed and all(_is_loopback(host) for host in listed) else "wan"


def spell_address(address: Address) -> str:
    """Return an address as libtorrent's `listen_interfaces` spells it: IPv6 in brackets."""
    host, port = address
    host = "127.0.0.1" if host == "localhost" else host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class TorrentSession:
    """A running session; leaving the `with` block closes its connections and files.

    `listen` is one or more addresses as returned by `spell_address`, separated by commas; port 0 selects a free one.
    """

    def __init__(self, profile: Profile, listen: str, *, seeding: bool) -> None:
        role = _SEEDER if seeding else _LEECHER
        parameters = lt.session_params()
        settings: Any = {**_COMMON, **role, **_PROFILES[profile], "listen_interfaces": listen}
        parameters.settings = settings
        # Its memory stays small: a memory-mapped seeder was measured at 1 GiB resident, this one at 62 MiB.
        parameters.disk_io_constructor = "pread_disk_io_constructor"
        self._session = lt.session(parameters)
        self._handles: list[lt.torrent_handle] = []
        self._listen = listen
        self._wan = profile == "wan"

    @property
    def finds_peers(self) -> bool:
        """Whether peers can be found through a tracker or the DHT."""
        return self._wan or any(handle.trackers() for handle in self._handles)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.pause()
        if isinstance(error, StoreError) or not self._flush_writes():
            _leak(self._session)
        self._handles.clear()
        del self._session

    def _flush_writes(self) -> bool:
        """Return whether all pending writes succeeded."""
        waiting = {handle for handle in self._handles if handle.is_valid()}
        for handle in waiting:
            handle.flush_cache()
        for _ in range(int(ENDING_SECONDS * 10)):
            if not waiting:
                return True
            for alert in self.alerts(0.1):
                if isinstance(alert, lt.file_error_alert):
                    return False
                if isinstance(alert, lt.cache_flushed_alert):
                    waiting.discard(alert.handle)
        return not waiting

    def add(self, part: TorrentSpec) -> lt.torrent_handle:
        """Add a torrent to the session; return its handle.

        Raises:
            IntegrityError: libtorrent cannot read the torrent.
        """
        try:
            parameters = lt.load_torrent_buffer(part.torrent, _LIMITS)
            parameters.save_path = os.fspath(part.folder)
            parameters.file_priorities = list(part.priorities)
            parameters.trackers = list(part.trackers)
            parameters.url_seeds = list(part.web_seeds)
            parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
            if part.have is not None:
                parameters.have_pieces = parameters.verified_pieces = list(part.have)
                parameters.flags |= lt.torrent_flags.no_verify_files
            if part.upload_only:
                parameters.flags |= lt.torrent_flags.upload_mode
            handle = self._session.add_torrent(parameters)
        except RuntimeError as error:
            raise IntegrityError(f"a torrent could not be loaded: {error}") from error
        self._handles.append(handle)
        return handle

    def alerts(self, seconds: float) -> list[lt.alert]:
        """Return pending alerts, waiting up to `seconds`; they are valid until the next call."""
        self._session.wait_for_alert(int(seconds * 1000))
        return self._session.pop_alerts()

    def port(self) -> int:
        """Return the port the session listens on.

        Raises:
            TransportError: the address is in use, or not available on this machine.
        """
        deadline = int(LISTEN_SECONDS * 10)
        reasons: list[str] = []
        for _ in range(deadline):
            for alert in self.alerts(0.1):
                if isinstance(alert, lt.listen_succeeded_alert) and alert.socket_type == _TCP_LISTENER:
                    return int(alert.port)
                if isinstance(alert, lt.listen_failed_alert):
                    reasons.append(alert.error.message())
            if reasons:
                break
        why = reasons[0] if reasons else "no reply from the system"
        raise TransportError(
            f"cannot listen on `{self._listen}`: {why}",
            hint="choose another port with `--listen HOST:PORT`; with port 0 the system chooses",
        )

    def payload(self) -> Payload:
        """Return the payload counters over all volumes."""
        states = [handle.status(0) for handle in self._handles]
        return Payload(
            received=sum(state.total_payload_download for state in states),
            useful=sum(
                state.total_payload_download - state.total_redundant_bytes - state.total_failed_bytes
                for state in states
            ),
            sent=sum(state.total_payload_upload for state in states),
        )


def _leak(session: lt.session) -> None:
    """Keep a session whose disk failed alive until the process exits.

    After a full disk, the session's destructor in libtorrent 2.1.1 can wait for a write that never finishes. It holds
    the GIL meanwhile, so no other thread can interrupt it.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


_TCP_LISTENER = lt.listen_succeeded_alert_socket_type_t.tcp


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
