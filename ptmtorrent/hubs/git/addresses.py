"""Addresses of git remotes, read as git reads them: `https://`, `ssh://`, `git://`, `file://`, `host:path`, a folder.

Git takes a text without `://` for `host:path` (by ssh) when a colon comes before its first slash, and for a folder
otherwise. Addresses that run another program (`ext::`) or carry a password for ssh are refused.

Source: git `connect.c` (`parse_connect_url`), `transport.c` (`transport_get`), git-clone(1) "GIT URLS".
"""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

from ptmtorrent.errors import NotFound, UsageError
from ptmtorrent.model.ids import check_path
from ptmtorrent.scrub import shown

WEB = ("https", "http")
"""What an address in a hub's answer may be."""

NAMED = (*WEB, "ssh", "git", "file")
"""What an address that the user names may be."""

_BY_SSH = ("ssh", "git+ssh", "ssh+git")
_LOCAL = ("/", "./", "../", "~")
_URL = re.compile(r"(?P<scheme>[A-Za-z0-9][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*::")
_BY_NAME = re.compile(
    r"(?:(?P<user>[^@/:\[\]]+)@)?(?P<host>\[[^\[\]/]+\]|[^@/:\[\]]+):(?P<path>[^:/-].*|/.*)", re.DOTALL
)


def is_address(text: str) -> bool:
    """Return whether `text` is an address, not the name of a package below an endpoint."""
    head, colon, _ = text.partition(":")
    return bool(_URL.match(text)) or (bool(colon) and "/" not in head) or text.startswith(_LOCAL)


def protocol_of(address: str) -> str:
    """Return the protocol that git reaches `address` by, as in `GIT_ALLOW_PROTOCOL`; an empty text for none of ours."""
    if _PROGRAM.match(address):
        return ""
    if match := _URL.match(address):
        scheme = match["scheme"].lower()
        return "ssh" if scheme in _BY_SSH else scheme
    head, colon, _ = address.partition(":")
    return "ssh" if colon and "/" not in head else "file"


def split_remote(text: str, schemes: tuple[str, ...]) -> tuple[str, str]:
    """Return the address of a remote for git, and the name of its package: host and path without `.git`.

    The host of a local folder is `localhost`; the user of an address by ssh is not part of the name.

    Raises:
        NotFound: not an address by one of `schemes`; UsageError: it holds a password for ssh; IntegrityError: a name
            that is not allowed in a manifest.
    """
    text = text.strip().rstrip("/") or text.strip()
    protocol = protocol_of(text)
    unfit = NotFound(f"`{shown(text)}` is not the address of a git remote", hint=f"write one of {_examples(schemes)}")
    if protocol not in schemes or not text or any(ord(each) < 0x20 or ord(each) == 0x7F for each in text):
        raise unfit
    if protocol == "file":
        address, name = _split_local(text, unfit)
    elif "://" in text:
        address, name = _split_url(text, protocol, unfit)
    else:
        address, name = _split_by_name(text, unfit)
    check_path(name)
    return address, name


def local_folder(address: str) -> Path | None:
    """Return the folder of an address that `split_remote` gave, None when it is not local."""
    return Path(unquote(address.removeprefix("file://"))) if address.startswith("file:///") else None


def _split_url(text: str, protocol: str, unfit: NotFound) -> tuple[str, str]:
    scheme, _, rest = text.partition("://")
    server, _, path = rest.partition("/")
    login, sign, host = server.rpartition("@")
    if sign and protocol == "ssh" and ":" in login:
        raise _password()
    if not host or not path or (sign and protocol != "ssh") or host.startswith("-") or login.startswith("-"):
        raise unfit
    if " " in text or set("?#") & set(rest):
        raise unfit
    return f"{scheme.lower()}://{rest}", _name(host, path)


def _split_by_name(text: str, unfit: NotFound) -> tuple[str, str]:
    match = _BY_NAME.fullmatch(text)
    if match is None or " " in text:
        raise unfit
    if "@" in match["path"] and not match["user"]:
        raise _password()
    host = match["host"].strip("[]").rpartition("@")[2]
    if not host or f"{match['user'] or host}".startswith("-") or host.startswith("-"):
        raise unfit
    return text, _name(host, match["path"])


def _split_local(text: str, unfit: NotFound) -> tuple[str, str]:
    if match := _URL.match(text):
        if not match["rest"].startswith("/"):
            raise unfit
        path = unquote(match["rest"])
    else:
        path = os.path.expanduser(text)  # noqa: PTH111  # Path.expanduser fails where there is no such user
    folder = f"/{os.path.abspath(path).lstrip('/')}"  # noqa: PTH100  # git resolves links itself
    return f"file://{quote(folder)}", _name("localhost", folder)


def _name(host: str, path: str) -> str:
    return f"{host.replace(':', '+')}/{path.strip('/').removesuffix('.git').rstrip('/')}"


def _password() -> UsageError:
    return UsageError(
        "an ssh address cannot contain a password",
        hint="remove it; ssh logs in with a key (GIT_SSH_COMMAND, ssh-agent)",
    )


def _examples(schemes: tuple[str, ...]) -> str:
    examples = {"ssh": "`user@HOST:PATH`", "file": "`/folder`"}
    return ", ".join(examples.get(scheme, f"`{scheme}://HOST/PATH`") for scheme in schemes)
