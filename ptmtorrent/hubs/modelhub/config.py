"""Facts in the files of a Modelhub.ai package: `contrib_src/model/config.json` and the licence text."""

import re
from typing import Any

import msgspec

from ptmtorrent.facts.licence_texts import name_licence
from ptmtorrent.hubs.catalogues import Read, text
from ptmtorrent.hubs.port import Listed
from ptmtorrent.model.bounds import decode_json

CONFIG = "contrib_src/model/config.json"
LICENCE = "contrib_src/license/model"
_ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/([0-9]{4}\.[0-9]{4,5})")
_DOI = re.compile(r"\b(10\.[0-9]{4,9}/[^\s\"<>?#]{1,200})")


def with_config(listed: Listed, read: Read) -> Listed:
    """Return `listed` with task, licence and tags (spelled as on Hugging Face) from the files of the package.

    ::

        architecture:Convolutional Neural Network (CNN)   dataset:http://www.image-net.org/   arxiv:1602.07360

    A malformed configuration adds nothing and does not prevent the capture.
    """
    config = _parse(read(CONFIG))
    meta, model, publication = (_part(config, name) for name in ("meta", "model", "publication"))
    url = text(publication, "url") or ""
    tags = {
        "architecture": text(model, "architecture"),
        "format": text(model, "format"),
        "learning": text(model, "learning_type"),
        "data": text(meta, "data_type"),
        "area": text(meta, "application_area"),
        "dataset": text(meta, "data_source"),
        "arxiv": _first(_ARXIV, url),
        "doi": _first(_DOI, url),
    }
    licence = (read(LICENCE) or b"").decode(errors="replace")
    return msgspec.structs.replace(
        listed,
        task=text(meta, "task") or listed.task,
        licence=name_licence(licence) or listed.licence,
        tags=tuple(dict.fromkeys((*listed.tags, *(f"{key}:{value}" for key, value in tags.items() if value)))),
    )


def _parse(data: bytes | None) -> dict[str, Any]:
    try:
        return decode_json(data or b"{}", dict[str, Any])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}


def _part(config: dict[str, Any], name: str) -> dict[str, Any]:
    part = config.get(name)
    return part if isinstance(part, dict) else {}


def _first(pattern: re.Pattern[str], where: str) -> str | None:
    match = pattern.search(where)
    return match[1] if match else None
