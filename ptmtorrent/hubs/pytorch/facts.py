"""What a card of PyTorch Hub states. Its tags name the task (`category` is the audience), its text the papers."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ptmtorrent.errors import HubError
from ptmtorrent.facts.front_matter import FRONT, read_front
from ptmtorrent.facts.papers import papers_in
from ptmtorrent.hubs.facts import Answer, map_text, stated
from ptmtorrent.hubs.pytorch.cards import read_card
from ptmtorrent.model.uniform_record import Facts, Text, Texts

TASKS = ("vision", "nlp", "audio", "generative")
"""The tags that name a task, as the template of cards lists them; `scriptable` says how a model may be compiled."""


def read_facts(name: str, answer: Mapping[str, Any]) -> Facts:
    """Return what the card of the package `name` states."""
    del name
    text = answer.get("text")
    text = text if isinstance(text, str) else ""
    look = Answer("record", {"front": _front(text)})
    tags = look.texts("/front/tags")
    owned = _owned(text)
    forge = answer.get("forge")
    remote = Text(f"{forge}/{owned.value}", owned.source) if owned and isinstance(forge, str) else None
    papers = papers_in(text)
    return stated(
        title=look.text("/front/title") or _number(look),
        creators=look.texts("/front/author"),
        owner=map_text(owned, lambda path: path.partition("/")[0]),
        url=look.web("/front/github-link") or remote,
        owner_url=map_text(remote, lambda url: url.rpartition("/")[0]),
        task=_task(tags),
        papers=Texts(papers, "record#/text") if papers else None,
        library=Text("pytorch", "hub"),
        tags=tags,
        description=look.description("/front/summary"),
    )


def demo_of(answer: Mapping[str, Any]) -> str | None:
    """Return the address of the demo that a card names."""
    text = answer.get("text")
    found = Answer("record", {"front": _front(text if isinstance(text, str) else "")}).web("/front/demo-model-link")
    return found.value if found else None


def _number(look: Answer) -> Text | None:
    """Return a title that YAML parsed as a number."""
    value = look.at("/front/title")
    return Text(str(value), look.source("/front/title")) if type(value) is int and abs(value) < 1 << 64 else None


def _task(tags: Texts | None) -> Text | None:
    if tags is None:
        return None
    return next((Text(tag, f"{tags.source}/{row}") for row, tag in enumerate(tags.value) if tag in TASKS), None)


def _owned(text: str) -> Text | None:
    """Return `owner/name` of the remote that the card loads from; None for a card that `describe` refuses."""
    with suppress(HubError):
        return Text(read_card(text.encode(errors="replace")).owned, "record#/text")
    return None


def _front(text: str) -> dict[str, object]:
    match = FRONT.match(text)
    with suppress(HubError):
        return read_front(match[1]) if match else {}
    return {}
