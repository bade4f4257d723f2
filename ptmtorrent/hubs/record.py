"""Builds the uniform record of a package from its hub's raw answer and from what its files state.

Every hub has one function that reads its answer (`read_facts`); listings use the same one. The table of fields is in
docs/formats/record.md. Pure.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ptmtorrent.errors import HubError
from ptmtorrent.hubs.git.facts import read_facts as read_git
from ptmtorrent.hubs.huggingface.facts import read_facts as read_huggingface
from ptmtorrent.hubs.kaggle.facts import read_facts as read_kaggle
from ptmtorrent.hubs.modelhub.config import read_facts as read_modelhub
from ptmtorrent.hubs.modelzoo import read_facts as read_modelzoo
from ptmtorrent.hubs.onnx.facts import read_facts as read_onnx
from ptmtorrent.hubs.port import Found, Listed
from ptmtorrent.hubs.pytorch.facts import read_facts as read_pytorch
from ptmtorrent.hubs.tfhub.facts import read_facts as read_tfhub
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.uniform_record import FIELDS, Facts, Text, Texts, UniformRecord

ReadFacts = Callable[[str, Mapping[str, Any]], Facts]
"""Returns what the raw answer of a hub states about the package of a name."""

READERS: Mapping[str, ReadFacts] = {
    "hf": read_huggingface,
    "pytorch": read_pytorch,
    "onnx": read_onnx,
    "modelzoo": read_modelzoo,
    "tfhub": read_tfhub,
    "kaggle": read_kaggle,
    "modelhub": read_modelhub,
    "git": read_git,
    "dir": lambda name, answer: {},  # noqa: ARG005  # a folder states nothing; its files may
}

ANSWER = {"hf": "model_info", "kaggle": "model", "git": "remote"}
"""The name of a hub's raw answer if it is not `record`."""


def build_record(prefix: str, listed: Listed, *, commit: str | None = None) -> UniformRecord:
    """Return the record of a package of the hub `prefix`; `commit` is the one it was pinned to, if any.

    Raises:
        HubError: the raw answer is not a JSON object.
    """
    facts = READERS[prefix](listed.name, read_answer(listed.raw))
    facts |= {found.field: _fact(found) for found in listed.found}
    if commit is not None:
        facts["revision"] = Text(commit, "identity")
    return UniformRecord(
        format=UniformRecord.FORMAT,
        version=UniformRecord.VERSION,
        requires=(),
        package=f"{prefix}:{listed.name}",
        **facts,  # type: ignore[arg-type]  # the type of each field is that which its reader gives
    )


def facts_of(record: UniformRecord) -> Facts:
    """Return the values that a record states, by field."""
    return {name: fact for name in FIELDS if (fact := getattr(record, name)) is not None}


def _fact(found: Found) -> Text | Texts:
    if isinstance(found.value, str):
        return Text(found.value, found.source)
    return Texts(found.value, found.source)


def read_answer(raw: str) -> dict[str, Any]:
    """Return the raw answer as an object.

    Raises:
        HubError: `raw` is not a JSON object.
    """
    try:
        answer = decode_json(raw or "{}")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"the raw answer of a package is not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise HubError("the raw answer of a package is not a JSON object")
    return answer
