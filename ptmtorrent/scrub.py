"""Removes passwords and tokens from texts: from addresses, and wherever a secret that this run uses is repeated.

Errors are scrubbed when they are made, records, rows and tracebacks when they are printed, answers of hubs when they
are kept. A secret is registered when it is read, so a hub that repeats it in an answer does not get it logged. What is
printed also loses the characters that control, turn or hide text.
"""

import re
import threading
from dataclasses import dataclass, field
from typing import TextIO
from urllib.parse import unquote

HIDDEN = "***"
MIN_SECRET = 6
"""Characters of the shortest secret that is removed wherever it occurs; shorter ones occur in ordinary words."""

_SPLIT = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<login>[^/?#\\]*)@(?P<rest>.*)", re.DOTALL)
_END = r"\s'\"`<>"
_SCHEME = r"(?<![a-z0-9+.-])([a-z][a-z0-9+.-]*://)"
_SSH_PASSWORD = re.compile(rf"(?i)((?:ssh|git\+ssh|ssh\+git)://[^/?#@:{_END}]*):[^/?#{_END}]*@")
_LOGIN = re.compile(rf"(?i)(?!ssh:|git\+ssh:|ssh\+git:){_SCHEME}[^/?#{_END}]*@")
_ODD_LOGIN = re.compile(rf"(?i){_SCHEME}[^/?#@:\[{_END}]*:(?![0-9]*(?:[/?#,{_END}]|$))[^{_END}]*@")
"""A password with an unescaped `/`, `?` or `#`: what follows the colon is no port."""

_BY_NAME = re.compile(r"(?![A-Za-z0-9+.-]+://)[^@/]*:[^@]*@")
_ANY_LOGIN = re.compile(r"^([^:@]*:(?://)?).*@", re.DOTALL)
_QUERY = re.compile(
    r"(?i)([?&;](?:[a-z0-9_.-]*(?:token|secret|signature|passw(?:or)?d|credentials?|api[_-]?key|authorization)|sig|key)=)"
    rf"[^&;#{_END}]+"
)

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_SEPARATORS = r"\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f"
_INVISIBLE = (
    r"\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd"
    r"\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Characters that show nothing or change the direction of those around them: two names could look alike, or a name like
another text."""
_ESCAPED = re.compile(f"[{_CONTROL}{_SEPARATORS}{_INVISIBLE}]")


@dataclass(frozen=True)
class Login:
    """The user and the password of an address, decoded; `password` is None where the address has a user only."""

    user: str
    password: str | None = field(default=None, repr=False)

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header (RFC 7617)."""
        return "Basic " + _base64(f"{self.user}:{self.password or ''}")


def split_login(address: str) -> tuple[str, Login | None]:
    """Return an address without its login, and the login; the secret in it is registered.

    A user without a password is taken for a token, as git hosts accept one.
    """
    match = _SPLIT.fullmatch(address)
    if match is None:
        return address, None
    user, colon, password = match["login"].partition(":")
    login = Login(unquote(user), unquote(password) if colon else None)
    keep_secret(login.password if colon else login.user, user=login.user)
    return f"{match['scheme']}{match['rest']}", login


def shown(address: str) -> str:
    """Return an address that was refused, for a message: without all that may be a login, however it is malformed."""
    return scrub(_ANY_LOGIN.sub(r"\1", address))


def scrub_address(address: str) -> str:
    """Return an address to keep: as `scrub`, and `user:password@host:path` without what may be a login."""
    return shown(address) if _BY_NAME.match(address) else scrub(address)


def is_web(address: str) -> bool:
    """Return whether `address` starts with `http://` or `https://`."""
    return address.lower().startswith(("http://", "https://"))


def keep_secret(secret: str | None, *, user: str = "") -> None:
    """Register a secret, for `scrub` to remove in each of its spellings: plain, escaped, or as Basic credentials."""
    if secret and len(secret) >= MIN_SECRET:
        _SECRETS.add(secret, user)


def scrub(text: str) -> str:
    """Return `text` without the logins of addresses, values of secret query parameters, and registered secrets."""
    if _SECRETS.pattern is not None:
        text = _SECRETS.pattern.sub(HIDDEN, text)
    if "://" not in text and "=" not in text:
        return text
    text = _SSH_PASSWORD.sub(r"\1@", text)
    text = _ODD_LOGIN.sub(r"\1", _LOGIN.sub(r"\1", text))
    return _QUERY.sub(rf"\1{HIDDEN}", text)


def without_secrets(text: str) -> str:
    """Return a text that is used again, such as an address, without registered secrets and without its login."""
    if _SECRETS.pattern is not None:
        text = _SECRETS.pattern.sub(HIDDEN, text)
    return split_login(text)[0]


def scrub_bytes(data: bytes) -> bytes:
    """Return a document without registered secrets; the same bytes when it repeats none."""
    if _SECRETS.pattern is None:
        return data
    text = data.decode(errors="surrogateescape")
    clean = _SECRETS.pattern.sub(HIDDEN, text)
    return data if clean == text else clean.encode(errors="surrogateescape")


class _Secrets:
    """The secrets of this process, as one pattern of all their spellings; any thread may add one."""

    def __init__(self) -> None:
        self.pattern: re.Pattern[str] | None = None
        self._spellings: set[str] = set()
        self._lock = threading.Lock()

    def add(self, secret: str, user: str) -> None:
        """Add a secret of `user`, and the Basic credentials of both."""
        known = {"".join(map(_spellings, secret))}
        known |= {re.escape(_base64(text).rstrip("=")) for text in (secret, f"{user}:{secret}")}
        with self._lock:
            if not known <= self._spellings:
                self._spellings |= known
                self.pattern = re.compile("|".join(sorted(self._spellings, key=len, reverse=True)), re.IGNORECASE)


def _base64(text: str) -> str:
    from base64 import b64encode

    return b64encode(text.encode(errors="surrogateescape")).decode()


def _spellings(character: str) -> str:
    """Return a pattern of one character: plain, escaped as in a URL, or as in JSON."""
    escaped = "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogateescape"))
    unicode = "" if ord(character) < 0x20 or ord(character) > 0xFFFF else rf"|\\u{ord(character):04x}"
    plus = r"|\+" if character == " " else ""
    return rf"(?:\\?{re.escape(character)}|{escaped}{unicode}{plus})"


_SECRETS = _Secrets()


def escape(text: str, *, keep: str = "") -> str:
    """Return `text` with characters that control, turn or hide what is shown as escapes, except those in `keep`."""
    return _ESCAPED.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def printable(text: str, stream: TextIO) -> str:
    """Return `text` as `stream` can encode it: surrogates and characters its encoding lacks become escapes.

    Passwords and tokens are removed: every line for people and scripts passes here.
    """
    text = scrub(text)
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)
