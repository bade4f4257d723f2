"""Builds the uniform record from a hub's raw answer: one table of JSON pointers per hub, applied by one function.

The table is the one in docs/formats/record.md. Pure; a value of an unexpected type counts as absent.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ptmtorrent.errors import HubError
from ptmtorrent.facts.front_matter import FRONT, read_front
from ptmtorrent.hubs.port import Listed
from ptmtorrent.hubs.tfhub.documents import PUBLIC_ENDPOINT, read_document
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.uniform_record import Count, Text, Texts, UniformRecord

MAX_VALUE = 1 << 16
"""Limit of a text in characters; a longer one is only in the raw answer."""

_MAX_COUNT = 1 << 50
_TEXT = ("task", "architecture", "description", "modified")
_COUNTS = ("downloads", "likes")

ANSWER = {"hf": "model_info", "kaggle": "model"}
"""The name of a hub's raw answer if it is not `record`."""

POINTERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "hf": {
        "name": ("/id", "/modelId"),
        "owner": ("/author",),
        "revision": ("/sha",),
        "task": ("/pipeline_tag",),
        "architecture": ("/config/model_type",),
        "libraries": ("/library_name",),
        "tags": ("/tags",),
        "downloads": ("/downloads",),
        "likes": ("/likes",),
        "modified": ("/lastModified",),
    },
    "pytorch": {
        "name": ("/front/title",),
        "owner": ("/front/author",),
        "url": ("/front/github-link",),
        "task": ("/front/category",),
        "tags": ("/front/tags",),
        "description": ("/front/summary",),
    },
    "modelzoo": {
        "name": ("/title", "/slug"),
        "url": ("/link",),
        "task": ("/categories/0/title",),
        "libraries": ("/framework",),
        "description": ("/description",),
        "likes": ("/stars",),
    },
    "modelhub": {
        "name": ("/name",),
        "url": ("/github",),
        "task": ("/task_extended",),
        "libraries": ("/backend",),
    },
    "kaggle": {
        "description": ("/model/subtitle",),
        "licence": ("/instance/licenseName",),
        "libraries": ("/instance/framework",),
        "likes": ("/model/voteCount",),
        "modified": ("/model/updateTime",),
    },
    "tfhub": {
        "task": ("/front/task/0",),
        "architecture": ("/front/network-architecture/0",),
        "licence": ("/front/license",),
        "datasets": ("/front/dataset",),
        "libraries": ("/front/format", "/kind"),
        "description": ("/front/description",),
    },
    "onnx": {"name": ("/folder",), "url": ("/remote",), "revision": ("/commit",)},
}
"""For each hub and field, the pointers into the raw answer; the first one with a usable value is taken."""

WEB = {"hf": "https://huggingface.co", "kaggle": "https://www.kaggle.com/models", "tfhub": PUBLIC_ENDPOINT}
"""Hubs whose packages have a web page at `<web>/<name>`; a deployment of TensorFlow Hub has its module's page."""

_OF_HUB = {"pytorch": {"libraries": ("pytorch",)}, "onnx": {"libraries": ("onnx",), "owner": ("onnx",)}}


def build_record(prefix: str, listed: Listed, *, commit: str | None = None) -> UniformRecord:
    """Return the record of a package of the hub `prefix`; `commit` is the one it was pinned to, if any.

    Raises:
        HubError: the raw answer is not a JSON object.
    """
    answer = read_answer(listed.raw)
    look = _Answer(ANSWER.get(prefix, "record"), answer, POINTERS.get(prefix, {}))
    fixed = _OF_HUB.get(prefix, {})
    owner = look.text("owner") or (Text(fixed["owner"][0], "hub") if "owner" in fixed else None)
    url = look.text("url")
    if prefix in WEB:
        page = str(answer.get("handle", listed.name)) if prefix == "tfhub" else listed.name
        owner = owner or (Text(page.partition("/")[0], "package") if "/" in page else None)
        url = Text(f"{WEB[prefix]}/{page}", "package")
    libraries = look.texts("libraries") or (Texts(fixed["libraries"], "hub") if "libraries" in fixed else None)
    return UniformRecord(
        format=UniformRecord.FORMAT,
        version=UniformRecord.VERSION,
        requires=(),
        package=f"{prefix}:{listed.name}",
        name=look.text("name") or Text(listed.name, "package"),
        owner=owner or _owner_in(url),
        url=url,
        owner_url=_owner_page(prefix, owner, url),
        revision=Text(commit, "identity") if commit else look.text("revision"),
        licence=look.text("licence") or look.tagged("license:"),
        datasets=look.texts("datasets") or look.all_tagged("dataset:"),
        papers=look.all_tagged("doi:", "arxiv:"),
        libraries=libraries,
        tags=look.texts("tags"),
        **{field: look.text(field) for field in _TEXT},  # type: ignore[arg-type]
        **{field: look.count(field) for field in _COUNTS},  # type: ignore[arg-type]
    )


class _Answer:
    """One raw answer, read through the pointers of its hub."""

    def __init__(self, name: str, answer: Mapping[str, Any], pointers: Mapping[str, tuple[str, ...]]) -> None:
        self._name = name
        self._answer = answer
        self._pointers = pointers
        tags = answer.get("tags")
        self._tags = [
            (at, tag) for at, tag in enumerate(tags if isinstance(tags, list) else ()) if isinstance(tag, str)
        ]

    def text(self, field: str) -> Text | None:
        found = self._first(field, lambda value: isinstance(value, str) and 0 < len(value) <= MAX_VALUE)
        return Text(_clean(found[0]), found[1]) if found else None

    def count(self, field: str) -> Count | None:
        found = self._first(field, lambda value: type(value) is int and 0 <= value < _MAX_COUNT)
        return Count(*found) if found else None

    def texts(self, field: str) -> Texts | None:
        found = self._first(field, lambda value: isinstance(value, (str, list)) and len(value) > 0)
        if found is None:
            return None
        values = [found[0]] if isinstance(found[0], str) else found[0]
        kept = tuple(_clean(value) for value in values if isinstance(value, str) and len(value) <= MAX_VALUE)
        return Texts(kept, found[1]) if kept else None

    def tagged(self, start: str) -> Text | None:
        """Return the rest of the tags that begin with `start`, joined with ` AND `."""
        found = [(at, tag.removeprefix(start)) for at, tag in self._tags if tag.startswith(start) and tag != start]
        where = f"{self._name}#/tags" + (f"/{found[0][0]}" if len(found) == 1 else "")
        return Text(_clean(" AND ".join(tag for _, tag in found)), where) if found else None

    def all_tagged(self, *starts: str) -> Texts | None:
        """Return the tags that begin with any of `starts`, which is removed if it is the only one."""
        bare = len(starts) == 1
        found = [tag.removeprefix(starts[0]) if bare else tag for _, tag in self._tags if tag.startswith(starts)]
        return Texts(tuple(_clean(tag) for tag in found), f"{self._name}#/tags") if found else None

    def _first(self, field: str, fits: Callable[[Any], bool]) -> tuple[Any, str] | None:
        for pointer in self._pointers.get(field, ()):
            value = _at(self._answer, pointer)
            if fits(value):
                front = pointer.startswith("/front/")
                return value, f"{self._name}#" + (f"/text {pointer.removeprefix('/front/')}" if front else pointer)
        return None


def read_answer(raw: str) -> dict[str, Any]:
    """Return the raw answer as an object; a card or document gets its front matter as the member `front`.

    Raises:
        HubError: `raw` is not a JSON object.
    """
    try:
        answer = decode_json(raw or "{}")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"the raw answer of a package is not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise HubError("the raw answer of a package is not a JSON object")
    text = answer.get("text")
    if isinstance(text, str) and ("card" in answer or "handle" in answer):
        answer["front"] = _front(text) if "card" in answer else _tags(text)
    return answer


def _front(card: str) -> dict[str, object]:
    """Return the front matter; empty if it is malformed (`describe` raises the error)."""
    match = FRONT.match(card)
    try:
        return read_front(match[1]) if match else {}
    except HubError:
        return {}


def _tags(text: str) -> dict[str, object]:
    """Return the tags of a TensorFlow Hub document, each with all its values; licences are joined with ` AND `."""
    try:
        document = read_document("text", text.encode())
    except HubError:
        return {}
    keys = dict.fromkeys(key for key, _ in document.tags)
    licence = " AND ".join(value.lower() for value in document.values("license"))
    return {
        **{key: list(document.values(key)) for key in keys},
        "description": document.description,
        "license": licence,
    }


def _at(value: object, pointer: str) -> object:
    for step in pointer[1:].split("/"):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _owner_in(url: Text | None) -> Text | None:
    steps = url.value.split("/") if url else []
    return Text(steps[3], url.source) if url and len(steps) > 3 and steps[3] else None


def _owner_page(prefix: str, owner: Text | None, url: Text | None) -> Text | None:
    if prefix in WEB:
        return Text(f"{WEB[prefix].removesuffix('/models')}/{owner.value}", owner.source) if owner else None
    steps = url.value.split("/") if url else []
    return Text("/".join(steps[:4]), url.source) if url and len(steps) > 3 and steps[3] else None


def _clean(text: str) -> str:
    """Replace characters that UTF-8 cannot encode by `?`."""
    return text.encode(errors="replace").decode()
