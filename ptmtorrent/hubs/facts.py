"""Reads facts from the documents of hubs, each with its source. Every hub has a `read_facts`, which uses this.

In come a name and the hub's raw answer; out go `Facts`, which the listing (`fill`), the record of a capture and so the
tables and exports have alike. Pure; a value of an unexpected type counts as absent.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ptmtorrent.hubs.port import Listed
from ptmtorrent.model.uniform_record import Count, Facts, Text, Texts

MAX_TEXT = 1 << 10
"""Limit of a text in characters; a longer one is only in the raw answer, and a description is cut."""

MAX_TEXTS = 64
"""Limit of values of a field; of tags, sixteen times as many."""

_MAX_COUNT = 1 << 50
_LISTED = ("licence", "downloads", "likes", "task", "library", "modified")


class Answer:
    """A raw answer, called `name` in sources."""

    def __init__(self, name: str, value: Mapping[str, Any]) -> None:
        self._name = name
        self._value = value

    def text(self, *pointers: str) -> Text | None:
        """Return the first usable text that `pointers` lead to."""
        for pointer in pointers:
            value = self.at(pointer)
            if isinstance(value, str) and 0 < len(text := clean(value).strip()) <= MAX_TEXT:
                return Text(text, self.source(pointer))
        return None

    def count(self, pointer: str) -> Count | None:
        """Return a number that is not negative."""
        value = self.at(pointer)
        return Count(value, self.source(pointer)) if type(value) is int and 0 <= value < _MAX_COUNT else None

    def texts(self, *pointers: str, most: int = MAX_TEXTS) -> Texts | None:
        """Return the texts of the first usable list, or a single text as one."""
        for pointer in pointers:
            value = self.at(pointer)
            values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            kept = tuple(clean(each) for each in values if isinstance(each, str) and 0 < len(each.strip()) <= MAX_TEXT)
            if kept:
                return Texts(kept[:most], self.source(pointer))
        return None

    def description(self, *pointers: str) -> Text | None:
        """Return the first text, on one line and cut if it is long."""
        for pointer in pointers:
            value = self.at(pointer)
            if isinstance(value, str) and (short := shorten(value)):
                return Text(short, self.source(pointer))
        return None

    def web(self, *pointers: str) -> Text | None:
        """Return the first address of the web."""
        for pointer in pointers:
            value = self.at(pointer)
            if isinstance(value, str) and is_web(value.strip()):
                return Text(value.strip(), self.source(pointer))
        return None

    def at(self, pointer: str) -> object:
        """Return the value that a JSON pointer leads to; None if there is none."""
        value: object = self._value
        for step in pointer[1:].split("/"):
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value

    def source(self, pointer: str) -> str:
        """Return how sources spell a pointer: a value of front matter lies in the text of the answer."""
        return f"{self._name}#" + (f"/text {pointer[len('/front/') :]}" if pointer.startswith("/front/") else pointer)


def stated(**facts: Text | Texts | Count | None) -> Facts:
    """Return those of `facts` that have a value."""
    return {name: fact for name, fact in facts.items() if fact is not None}


def fill(listed: Listed, facts: Facts) -> Listed:
    """Return `listed` with the facts that a listing has."""
    known: dict[str, object] = {name: facts[name].value for name in _LISTED if name in facts}
    if "owner" in facts:
        known["author"] = facts["owner"].value
    if "tags" in facts:
        known["tags"] = facts["tags"].value
    return msgspec.structs.replace(listed, **known)


def owner_in(url: Text | None) -> Text | None:
    """Return the account in the address of a git remote: the first part of its path."""
    steps = urlsplit(url.value).path.split("/") if url else []
    return Text(steps[1], url.source) if url and len(steps) > 1 and steps[1] else None


def page_of_owner(url: Text | None) -> Text | None:
    """Return the page of the account in the address of a git remote."""
    return Text("/".join(url.value.split("/")[:4]), url.source) if url and owner_in(url) else None


def split_people(names: Text | None) -> Texts | None:
    """Return the people in `A B, C D` or `B, A and D, C`, as they are spelled there."""
    if names is None:
        return None
    parts = names.value.split(" and ") if " and " in names.value else names.value.split(",")
    people = tuple(name for part in parts if (name := " ".join(part.split()).strip(",")))
    return Texts(people[:MAX_TEXTS], names.source) if people else None


def map_text(text: Text | None, change: Callable[[str], str | None]) -> Text | None:
    """Return the text that `change` makes of `text`."""
    changed = change(text.value) if text else None
    return Text(changed, text.source) if text and changed else None


def shorten(text: str) -> str:
    """Return a text on one line, cut at a word to at most `MAX_TEXT` characters, with an ellipsis then."""
    line = " ".join(clean(text[: 8 * MAX_TEXT]).split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1].rpartition(" ")[0] + "…"


def is_web(value: object) -> bool:
    """Return whether `value` is an address that browsers open."""
    if not isinstance(value, str) or len(value) > 2 * MAX_TEXT or set(value) & set(' "<>\\^`{|}'):
        return False
    return value.startswith(("https://", "http://"))


def clean(text: str) -> str:
    """Replace characters that UTF-8 cannot encode by `?`."""
    return text.encode(errors="replace").decode()
