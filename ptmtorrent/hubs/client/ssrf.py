"""Where a hub on the open network may send us: to no machine of the network that this one stands in.

A package names addresses of weights, of LFS objects and of git remotes, and any of them may redirect. What answers
inside (a cloud's metadata service, a database without a password) would be stored as a file, and published. A hub that
is inside itself may lead to its neighbours.
"""

import ipaddress
import socket
import time
from functools import lru_cache
from urllib.parse import urlsplit

from ptmtorrent.errors import HubError

CACHE_SECONDS = 60


def is_internal(url: str) -> bool:
    """Tell whether the host of `url` is, or is known here as, an address that is not of the open network.

    A name that cannot be looked up is none: who is asked through a proxy need not be known here.
    """
    try:
        host = urlsplit(url).hostname
        addresses = _addresses(host, int(time.monotonic() / CACHE_SECONDS)) if host is not None else ()
        return any(not ipaddress.ip_address(address).is_global for address in addresses)
    except ValueError:
        return False


@lru_cache(maxsize=1024)
def _addresses(host: str, _turn: int) -> set[str]:
    """Look a name up; what is found is good for the turn, so that not every request asks."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {str(row[4][0]).partition("%")[0] for row in found}


def refuse_internal(url: str, what: str) -> None:
    """Refuse an address that leads into the network of this machine.

    Raises:
        HubError: naming it.
    """
    if is_internal(url):
        raise HubError(
            f"{what} leads to `{url[:200]}`, which is inside the network of this machine: refused",
            hint="a hub of your own network may lead there: name it with --endpoint",
        )
