"""Redacts e-mail addresses (personal data) in replies of hubs. Pure.

Addresses in git commits are kept: without them, the hash would no longer match the upstream commit.
"""

import re
from typing import Any

import msgspec

from ptmtorrent.errors import HubError
from ptmtorrent.model.bounds import decode_json

_ADDRESS = re.compile(r"(?<![\w.+%-])(?:mailto:)?+[\w.+%-]++@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
"""Begins where a word begins and never goes back in it, so that long texts take linear time."""

_MEMBERS = {"email", "e-mail", "emails", "e_mail", "mail"}
_PATHS = {"rfilename", "path", "model_path", "folder", "id", "modelId"}
"""Members whose text names a file or a package: `weights@v1.bin` is not an address."""


def redact(value: Any) -> Any:  # noqa: ANN401  # any JSON
    """Return JSON without members called `email`, and without addresses in strings and member names."""
    if isinstance(value, dict):
        return {
            _ADDRESS.sub("", key): item if key in _PATHS and isinstance(item, str) else redact(item)
            for key, item in value.items()
            if key.lower() not in _MEMBERS
        }
    if isinstance(value, list):
        return [redact(item) for item in value]
    return _ADDRESS.sub("", value) if isinstance(value, str) else value


def redact_text(text: str) -> str:
    """Return a text, such as a model card, without addresses."""
    return _ADDRESS.sub("", text)


def redact_json(raw: bytes) -> bytes:
    """Return JSON without addresses; JSON that has none is returned unchanged, byte for byte.

    Raises:
        HubError: the bytes are not JSON, or are nested too deeply.
    """
    if b"@" not in raw and b"\\u0040" not in raw and b"mail" not in raw.lower():
        return raw
    try:
        value = decode_json(raw)
        clean = redact(value)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"a reply of the hub could not be read: {error}") from error
    return raw if clean == value else msgspec.json.encode(clean)
