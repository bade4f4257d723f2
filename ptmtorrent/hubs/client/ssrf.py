"""Guards against server-side request forgery: a public hub must not cause requests to internal addresses.

Packages state addresses of weights, LFS objects and git remotes, and any of these may redirect. A reply from an
internal service (the metadata service of a cloud, a database without a password) would be stored as a file and
published. A hub that is internal itself may lead to internal addresses.
"""

from ptmtorrent.hubs.client.status_errors import InternalAddress
from ptmtorrent.network import is_internal


def refuse_internal(url: str, what: str) -> None:
    """Refuse a URL with an internal address.

    Raises:
        InternalAddress: the address is internal.
    """
    if is_internal(url):
        raise InternalAddress(
            f"{what} leads to `{url[:200]}`, an address in the network of this machine: refused",
            hint="only a hub in your own network may lead there: give it as --endpoint",
        )
