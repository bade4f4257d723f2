"""Facts that the hub reads from the files of a package, as the real one does: configuration and parameters."""

import json
from collections import Counter
from math import prod
from typing import Any

from ptmtorrent.demo.contents import Content
from ptmtorrent.demo.hub.catalogue import Revision

_MAX_HEADER_BYTES = 100_000_000
_CONFIG_KEYS = ("architectures", "auto_map", "model_type")


def read_config(revision: Revision) -> dict[str, Any] | None:
    """Return the members of `config.json` that the hub shows; None without such a file."""
    row = revision.rows.get("config.json")
    config = _read_object(row.content, 0, row.content.size) if row else {}
    return {key: config[key] for key in _CONFIG_KEYS if key in config} or None


def count_parameters(revision: Revision) -> dict[str, Any] | None:
    """Return the parameters of the top-level safetensors files, by dtype and in total; None without such files."""
    counts: Counter[str] = Counter()
    for row in revision.rows.values():
        if row.path.endswith(".safetensors") and "/" not in row.path:
            for tensor in _read_tensors(row.content):
                counts[tensor["dtype"]] += prod(tensor["shape"])
    return {"parameters": dict(counts), "total": counts.total()} if counts else None


def _read_tensors(content: Content) -> list[dict[str, Any]]:
    length = int.from_bytes(_read(content, 0, 8), "little")
    header = _read_object(content, 8, 8 + length) if length < min(content.size, _MAX_HEADER_BYTES) else {}
    return [entry for name, entry in header.items() if name != "__metadata__"]


def _read_object(content: Content, start: int, stop: int) -> dict[str, Any]:
    """Return a JSON object, empty for anything else: packages may contain invalid files."""
    try:
        value = json.loads(_read(content, start, stop))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _read(content: Content, start: int, stop: int) -> bytes:
    return b"".join(content.chunks(start, min(stop, content.size)))
