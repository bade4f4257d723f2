"""What a document of TensorFlow Hub states: its tags, its first paragraph, and the papers that it links to."""

from collections.abc import Mapping
from typing import Any

from ptmtorrent.errors import HubError
from ptmtorrent.facts.papers import papers_in
from ptmtorrent.hubs.facts import MAX_TEXTS, shorten, stated
from ptmtorrent.hubs.tfhub.documents import PUBLIC_ENDPOINT, Document, read_document
from ptmtorrent.model.uniform_record import Facts, Text, Texts

_TAGS = {
    "dataset": "dataset",
    "architecture": "network-architecture",
    "base_model": "parent-model",
    "language": "language",
}
"""The tags of a package, as on Hugging Face, and the keys of the document that they are of."""


def read_facts(name: str, answer: Mapping[str, Any]) -> Facts:
    """Return what the document of the package `name` states."""
    del name
    text, handle, kind = answer.get("text"), answer.get("handle"), answer.get("kind")
    if not isinstance(text, str) or not isinstance(handle, str) or not isinstance(kind, str):
        return {}
    try:
        document = read_document("text", text.encode(errors="replace"))
    except HubError:
        return {}
    owner = handle.partition("/")[0]
    licence = " AND ".join(value.lower() for value in document.values("license"))
    papers, description = papers_in(text), shorten(document.description)
    tags = tuple(dict.fromkeys(f"{tag}:{value}" for tag, key in _TAGS.items() for value in document.values(key)))
    return stated(
        owner=Text(owner, "record#/handle"),
        url=Text(f"{PUBLIC_ENDPOINT}/{handle}", "record#/handle"),
        owner_url=Text(f"{PUBLIC_ENDPOINT}/{owner}", "record#/handle"),
        task=_first(document, "task"),
        architecture=_first(document, "network-architecture"),
        datasets=_every(document, "dataset"),
        papers=Texts(papers, "record#/text") if papers else None,
        licence=Text(licence, "record#/text license") if licence else None,
        library=_first(document, "format") or Text(kind.lower(), "record#/kind"),
        tags=Texts(tags[:MAX_TEXTS], "record#/text") if tags else None,
        description=Text(description, "record#/text") if description else None,
    )


def _first(document: Document, key: str) -> Text | None:
    values = document.values(key)
    where = f"record#/text {key}" + ("/0" if len(values) > 1 else "")
    return Text(values[0], where) if values else None


def _every(document: Document, key: str) -> Texts | None:
    values = tuple(dict.fromkeys(document.values(key)))
    return Texts(values[:MAX_TEXTS], f"record#/text {key}") if values else None
