"""Guards against server-side request forgery: a public hub must not cause requests to internal addresses.

Packages state addresses of weights, LFS objects and git remotes, and any of these may redirect. A reply from an
internal service (the metadata service of a cloud, a database without a password) would be stored as a file and
published. A hub that is internal itself may lead to internal addresses.
"""

import ipaddress
import socket
import time
from functools import lru_cache
from urllib.parse import urlsplit

from ptmtorrent.errors import HubError

CACHE_SECONDS = 60


def is_internal(url: str) -> bool:
    """Return whether the host of `url` is, or resolves to, an address that is not public.

    A name that does not resolve is not internal, because a proxy may resolve it.
    """
    try:
        host = urlsplit(url).hostname
        addresses = _addresses(host, int(time.monotonic() / CACHE_SECONDS)) if host is not None else ()
        return any(not ipaddress.ip_address(address).is_global for address in addresses)
    except ValueError:
        return False


@lru_cache(maxsize=1024)
def _addresses(host: str, _interval: int) -> set[str]:
    """Return the addresses of a name, cached for one `_interval`."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {str(row[4][0]).partition("%")[0] for row in found}


def refuse_internal(url: str, what: str) -> None:
    """Refuse a URL with an internal address.

    Raises:
        HubError: the address is internal.
    """
    if is_internal(url):
        raise HubError(
            f"{what} leads to `{url[:200]}`, an address in the network of this machine: refused",
            hint="only a hub in your own network may lead there: give it as --endpoint",
        )
