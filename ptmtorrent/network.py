"""Connections that keep a pace and hear a stop, the guard against addresses inside this network, and the proxies.

A read of the HTTP library waits as long as bytes keep coming, so a server that sends one byte a second, or headers
without end, holds it for ever. Here every wait is cut into short ones, between which `halt` may end the run, and the
bytes that came are compared with the least rate. The time that the reader of the bytes needs for them is not counted.

HTTP and git go through the same proxies: those of `http_proxy`, `https_proxy` and `all_proxy`, but for the hosts in
`no_proxy`. That lists hosts with all below them, with or without a leading dot, `*.host` for only those below it,
addresses and networks, each with a port if wanted; `*` is every host.
"""

import importlib.util
import ipaddress
import queue
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from ssl import SSLContext
from threading import Event, Thread
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import httpcore2
import msgspec

from ptmtorrent.errors import ConfigError
from ptmtorrent.scrub import shown, split_login

CACHE_SECONDS = 60
HALT_SECONDS = 0.2
"""Interval at which a waiting read asks whether to halt."""

MAX_HEADER_BYTES = 1 << 20
BODY_READ_BYTES = 1 << 20
"""Limit of one read of a body; the library reads 64 KiB at a time, which takes three times the CPU."""

PORTS = {"http": 80, "https": 443}
SCHEMES = ("http", "https", "socks5", "socks5h")
SOCKS_EXTRAS = {"socksio": "httpx2[socks]", "socks": "requests[socks]"}
"""What installs the module that SOCKS proxies need: of the HTTP library, and of the one that the SDK of Globus uses."""

T = TypeVar("T")

Halt = Callable[[], None]
"""Raises `Interrupted` once the run is to stop."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What a server must keep: a byte within `silent` seconds, the headers of a reply within `headers` seconds.

    While a body is waited for, at least `least_rate` bytes a second must come, on average over `window` seconds.
    """

    connect: float
    silent: float
    headers: float
    window: float
    least_rate: int


class PacedBackend(httpcore2.NetworkBackend):
    """Connects as the library does, from a thread that can be left; its streams keep the pace."""

    def __init__(self, pace: Pace, halt: Halt) -> None:
        self._pace = pace
        self._halt = halt
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Return a connection; looking the name up is left too when the run halts."""
        limit = self._pace.connect if timeout is None else min(timeout, self._pace.connect)
        stream = leave_when_halted(
            lambda: self._inner.connect_tcp(host, port, limit, local_address, socket_options),
            self._halt,
            discard=lambda late: late.close(),
        )
        return PacedStream(stream, self._pace, self._halt)


class PacedStream(httpcore2.NetworkStream):
    """One connection. A request is written, then its reply is read: headers until `begin_body`, then the body."""

    def __init__(self, inner: httpcore2.NetworkStream, pace: Pace, halt: Halt) -> None:
        self._inner = inner
        self._pace = pace
        self._halt = halt
        self._headers_since: float | None = None
        self._waited = 0.0
        self._received = 0

    def begin_body(self) -> None:
        """Expect a body from now on, because the headers have ended."""
        self._headers_since = None
        self._waited, self._received = 0.0, 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next bytes, none at the end. Raises `ReadTimeout` when the server does not keep the pace.

        More than `max_bytes` of a body are returned when they are here: its reader takes any number.
        """
        if self._headers_since is None:
            max_bytes = max(max_bytes, BODY_READ_BYTES)
        silent = self._pace.silent if timeout is None else min(timeout, self._pace.silent)
        until = time.monotonic() + silent
        while True:
            self._halt()
            began = time.monotonic()
            try:
                data = self._inner.read(max_bytes, min(HALT_SECONDS, silent))
            except httpcore2.ReadTimeout:
                self._count(time.monotonic() - began, 0)
                if time.monotonic() >= until:
                    raise httpcore2.ReadTimeout(f"no byte came for {silent:g} seconds") from None
                continue
            self._count(time.monotonic() - began, len(data))
            return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send a part of a request, after which the headers of its reply are expected."""
        self._halt()
        self._inner.write(buffer, timeout)
        self._headers_since = time.monotonic()
        self._waited, self._received = 0.0, 0

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Return the same connection with TLS on it."""
        limit = self._pace.connect if timeout is None else min(timeout, self._pace.connect)
        secured = leave_when_halted(
            lambda: self._inner.start_tls(ssl_context, server_hostname, limit),
            self._halt,
            discard=lambda late: late.close(),
        )
        return PacedStream(secured, self._pace, self._halt)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  # the library's port
        """Return what the library knows of the connection."""
        return self._inner.get_extra_info(info)

    def _count(self, waited: float, received: int) -> None:
        self._waited += waited
        self._received += received
        if self._headers_since is not None:
            took = time.monotonic() - self._headers_since
            if took > self._pace.headers or self._received > MAX_HEADER_BYTES:
                raise httpcore2.ReadTimeout(
                    f"the headers of the reply did not end within {self._pace.headers:g} seconds"
                )
        elif self._waited >= self._pace.window:
            if self._received < self._pace.least_rate * self._waited:
                raise httpcore2.ReadTimeout(
                    f"fewer than {self._pace.least_rate} bytes a second came for {self._pace.window:g} seconds"
                )
            self._waited, self._received = 0.0, 0


def leave_when_halted(
    call: Callable[[], T], halt: Halt, *, seconds: float | None = None, discard: Callable[[T], object] = lambda _: None
) -> T:
    """Return what `call` returns, from a thread of its own that is left when the run halts or the time is over.

    What it returns after that is given to `discard`.

    Raises:
        TimeoutError: it took more than `seconds`; whatever `halt` or `call` raises.
    """
    done: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()
    left = Event()

    def work() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  # it is raised again where the result is waited for
            done.put(partial(_raise, error))
            return
        done.put(lambda: result)
        if left.is_set():
            discard(result)

    until = None if seconds is None else time.monotonic() + seconds
    Thread(target=work, daemon=True).start()
    try:
        while until is None or time.monotonic() < until:
            with suppress(queue.Empty):
                return done.get(timeout=HALT_SECONDS)()
            halt()
    except BaseException:
        left.set()
        raise
    left.set()
    raise TimeoutError(f"it took more than {seconds:g} seconds")


def _raise(error: BaseException) -> NoReturn:
    raise error


def is_internal(url: str) -> bool:
    """Return whether the host of `url` is, or resolves to, an address that is not public.

    A name that does not resolve is not internal, because a proxy may resolve it.
    """
    return any(not address.is_global for address in _addresses_of(url))


def is_loopback(url: str) -> bool:
    """Return whether all addresses of the host of `url` are of this machine itself."""
    addresses = _addresses_of(url)
    return bool(addresses) and all(address.is_loopback for address in addresses)


def _addresses_of(url: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        host = urlsplit(url).hostname
        found = _addresses(host, int(time.monotonic() / CACHE_SECONDS)) if host is not None else ()
        return [ipaddress.ip_address(address) for address in found]
    except ValueError:
        return []


@lru_cache(maxsize=1024)
def _addresses(host: str, _interval: int) -> set[str]:
    """Return the addresses of a name, cached for one `_interval`."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {str(row[4][0]).partition("%")[0] for row in found}


def proxy_for(url: str, settings: Mapping[str, str]) -> str | None:
    """Return the address of the proxy that a request for `url` goes through; None if it goes to the host itself.

    `settings` are the variables in force, by their name in lower case (`config.proxy_environment`).
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    chosen = settings.get(f"{parts.scheme}_proxy") or settings.get("all_proxy")
    if not chosen or parts.scheme not in PORTS or is_direct(host, port, settings.get("no_proxy", "")):
        return None
    return _whole(chosen)


def is_direct(host: str, port: int, no_proxy: str) -> bool:
    """Return whether an entry of `no_proxy` has `host`, or its address, at `port`."""
    return any(_matches(entry.strip().lower(), host.lower(), port) for entry in no_proxy.split(","))


def check_proxies(settings: Mapping[str, str], socks: str = "socksio") -> None:
    """Refuse proxies that requests cannot go through; `socks` is the module that SOCKS proxies need.

    Raises:
        ConfigError: naming the variable, and what is missing.
    """
    for name, value in settings.items():
        if name == "no_proxy":
            continue
        address, _ = split_login(_whole(value))
        try:
            parts = urlsplit(address)
            usable = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ConfigError(
                f"`{name}` cannot be `{shown(value)}`",
                hint="name a proxy such as `http://host:3128` or `socks5h://host:1080`",
            )
        if parts.scheme.startswith("socks") and importlib.util.find_spec(socks) is None:
            raise ConfigError(
                f"`{name}` is a SOCKS proxy, and the package `{socks}` is not installed",
                hint=f"install it: `pip install '{SOCKS_EXTRAS[socks]}'`",
            )


def describe_proxies(settings: Mapping[str, str]) -> str:
    """Return the proxies in force as a text, without logins."""
    named = {name: value if name == "no_proxy" else split_login(_whole(value))[0] for name, value in settings.items()}
    return ", ".join(f"{name}={value}" for name, value in named.items()) or "none"


def _whole(value: str) -> str:
    return value if "://" in value else f"http://{value}"


def _matches(entry: str, host: str, port: int) -> bool:
    if entry in {"", "*"}:
        return entry == "*"
    with suppress(ValueError):
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
        return ipaddress.ip_address(host) in network
    named, colon, number = entry.rpartition(":")
    if colon and number.isascii() and number.isdigit():
        return int(number) == port and _matches(named, host, port)
    if entry.startswith("*."):
        return host.endswith(entry[1:])
    name = entry.removeprefix(".")
    return host == name or host.endswith(f".{name}")
