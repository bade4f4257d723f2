"""Redacts e-mail addresses (personal data) in the answers of hubs. Pure.

Git commits and trees are kept with theirs: without them they would not hash to the upstream commit any more.
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
"""Members whose texts name a file or a package: `weights@v1.bin` is no address."""


def without_mail(value: Any) -> Any:  # noqa: ANN401  # any JSON
    """Return JSON without members called `email`, and without addresses in its texts and names of members."""
    if isinstance(value, dict):
        return {
            _ADDRESS.sub("", key): each if key in _PATHS and isinstance(each, str) else without_mail(each)
            for key, each in value.items()
            if key.lower() not in _MEMBERS
        }
    if isinstance(value, list):
        return [without_mail(each) for each in value]
    return _ADDRESS.sub("", value) if isinstance(value, str) else value


def text_without_mail(text: str) -> str:
    """Return a text, such as a card, without addresses."""
    return _ADDRESS.sub("", text)


def json_without_mail(raw: bytes) -> bytes:
    """Return JSON byte for byte as it is, unless there are addresses in it.

    Raises:
        HubError: it is no JSON, or is nested deeper than any record.
    """
    if b"@" not in raw and b"\\u0040" not in raw and b"mail" not in raw.lower():
        return raw
    try:
        value = decode_json(raw)
        clean = without_mail(value)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"an answer of the hub could not be read: {error}") from error
    return raw if clean == value else msgspec.json.encode(clean)
