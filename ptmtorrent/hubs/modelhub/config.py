"""What a package of Modelhub.ai says of itself: `contrib_src/model/config.json`, and the text of its licence."""

import re
from typing import Any

import msgspec

from ptmtorrent.facts.licence_texts import name_licence
from ptmtorrent.hubs.catalogues import Read, text
from ptmtorrent.hubs.port import Listed

CONFIG = "contrib_src/model/config.json"
LICENCE = "contrib_src/license/model"
_ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/([0-9]{4}\.[0-9]{4,5})")
_DOI = re.compile(r"\b(10\.[0-9]{4,9}/[^\s\"<>?#]{1,200})")


def with_config(listed: Listed, read: Read) -> Listed:
    """Return `listed` with what the files of the package add: task, licence, and tags as Hugging Face spells them.

    ::

        architecture:Convolutional Neural Network (CNN)   dataset:http://www.image-net.org/   arxiv:1602.07360

    A configuration that is none adds nothing: the package is captured all the same.
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
        return msgspec.json.decode(data or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}


def _part(config: dict[str, Any], name: str) -> dict[str, Any]:
    part = config.get(name)
    return part if isinstance(part, dict) else {}


def _first(pattern: re.Pattern[str], where: str) -> str | None:
    match = pattern.search(where)
    return match[1] if match else None
