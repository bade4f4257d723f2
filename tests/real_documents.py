"""The real documents of hubs in `../shared/data`, as packages, and a table of what they hold and what records have.

`HOLDING` counts what the documents hold by their own text, without the code that makes records. `EXPLAINED` says why
the two differ where they do.
"""

import csv
import gzip
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ptmtorrent.hubs.huggingface.records import read_listed
from ptmtorrent.hubs.modelhub.adapter import read_registry
from ptmtorrent.hubs.modelhub.config import CONFIG, LICENCE, with_config
from ptmtorrent.hubs.onnx.adapter import list_folder
from ptmtorrent.hubs.onnx.readme import read_readme
from ptmtorrent.hubs.onnx.records import package_of, read_manifest
from ptmtorrent.hubs.port import Listed
from ptmtorrent.hubs.pytorch.adapter import list_card
from ptmtorrent.hubs.record import build_record, facts_of
from ptmtorrent.hubs.tfhub.adapter import list_document
from ptmtorrent.hubs.tfhub.documents import read_document
from ptmtorrent.model.uniform_record import FIELDS

REAL = Path(__file__).parents[1].parent / "shared/data"
ZOO = ("https://github.com/onnx/models", "b1eeaa1ac722dcc1cd1a8284bde34393dab61c3d")


class Document(NamedTuple):
    """A package, the text of the hub's document about it, and that of its own configuration, if there is one."""

    listed: Listed
    text: str
    config: str = ""


def huggingface() -> Iterator[Document]:
    with gzip.open(REAL / "huggingface/hf-models-2022-02.sample.jsonl.gz") as lines:
        for line in lines:
            yield Document(read_listed(line), line.decode())


def pytorch() -> Iterator[Document]:
    for card in sorted((REAL / "pytorch").glob("*.md")):
        if card.name not in {"template.md", "README.md"}:
            yield Document(list_card(card.name, card.read_bytes()), card.read_text())


def onnx() -> Iterator[Document]:
    known = read_manifest((REAL / "onnx/ONNX_HUB_MANIFEST.json").read_bytes())
    with (REAL / "onnx/lfs-pointers.tsv").open() as lines:
        folders = sorted({package_of(row["path"]) for row in csv.DictReader(lines, delimiter="\t")} - {""})
    for folder in folders:
        path = REAL / "onnx/sample" / folder / "README.md"
        text = path.read_text() if path.is_file() else ""
        readme = read_readme(text.encode(), folder)
        yield Document(list_folder(folder, ZOO, known.get(folder, ()), readme), json.dumps(known.get(folder, [])), text)


def tfhub() -> Iterator[Document]:
    with tarfile.open(REAL / "tfhub/tfhub.dev-docs.tar.gz") as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is not None and re.fullmatch(r"assets/docs/.+\.md", member.name):
                data = stream.read()
                listed = list_document(read_document(member.name, data), data)
                if listed is not None and '"kind":"Module"' in listed.raw:
                    yield Document(listed, data.decode())


def modelhub() -> Iterator[Document]:
    entries = {row["name"]: row for row in json.loads((REAL / "modelhub/models.json").read_bytes())}
    for listed in read_registry((REAL / "modelhub/models.json").read_bytes()):
        folder = REAL / "modelhub" / listed.name.lower()
        files = {CONFIG: folder / "model_config.json", LICENCE: folder / "license_model"}
        found, config = listed, ""
        if folder.is_dir():
            found = with_config(listed, lambda path, files=files: files[path].read_bytes())  # type: ignore[misc]
            config = files[CONFIG].read_text()
        yield Document(found, json.dumps(entries[listed.name]), config)


DOCUMENTS: dict[str, Callable[[], Iterator[Document]]] = {
    "hf": huggingface,
    "pytorch": pytorch,
    "onnx": onnx,
    "tfhub": tfhub,
    "modelhub": modelhub,
}


@cache
def documents(prefix: str) -> tuple[Document, ...]:
    return tuple(DOCUMENTS[prefix]())


@cache
def _parsed(text: str) -> Any:
    return msgspec.json.decode(text)


def _json(*keys: str) -> Callable[[Document], bool]:
    """The JSON of the document has a value at `keys`."""

    def holds(document: Document) -> bool:
        value: Any = _parsed(document.text)
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value not in (None, "", [])

    return holds


def _config(*keys: str) -> Callable[[Document], bool]:
    """The configuration has a value at `keys`."""
    return lambda document: bool(document.config) and _json(*keys)(document._replace(text=document.config))


def _match(pattern: str) -> Callable[[Document], bool]:
    """The text of the document matches."""
    compiled = re.compile(pattern, re.MULTILINE)
    return lambda document: compiled.search(document.text) is not None


def _every(document: Document) -> bool:
    del document
    return True


_PAPER = r"arxiv\.org/(abs|pdf|html)/|\b10\.\d{4,9}/"

HOLDING: dict[str, dict[str, Callable[[Document], bool]]] = {
    "hf": {
        "owner": _match(r'"modelId": ?"[^"/]+/'),
        "url": _every,
        "owner_url": _match(r'"modelId": ?"[^"/]+/'),
        "revision": _json("sha"),
        "task": _json("pipeline_tag"),
        "architecture": _json("config", "model_type"),
        "datasets": _match(r'"dataset:'),
        "papers": _match(r'"(arxiv|doi):'),
        "licence": _match(r'"license:'),
        "library": _json("library_name"),
        "tags": _json("tags"),
        "downloads": _json("downloads"),
        "likes": _json("likes"),
        "modified": _json("lastModified"),
    },
    "pytorch": {
        "title": _match(r"^title: *\S"),
        "creators": _match(r"^author: *\S"),
        "owner": _match(r"^github-id: *\S"),
        "url": _match(r"^github-link: *http"),
        "owner_url": _match(r"^github-id: *\S"),
        "task": _match(r"^tags: .*\b(vision|nlp|audio|generative)\b"),
        "papers": _match(_PAPER),
        "library": _every,
        "tags": _match(r"^tags: *\[\w"),
        "description": _match(r"^summary: *\S"),
    },
    "onnx": {
        "title": lambda document: len(set(re.findall(r'"model": "([^"]*)"', document.text))) == 1,
        "owner": _every,
        "url": _every,
        "owner_url": _every,
        "revision": _every,
        "task": _every,
        "tags": _match(r'"tags": \["'),
        "library": _every,
        "licence": lambda document: "SPDX-License-Identifier" in document.config or "## License" in document.config,
        "metrics": lambda document: "ERROR|" in document.config,
        "datasets": lambda document: " dataset](" in document.config,
        "papers": lambda document: re.search(_PAPER, document.config) is not None,
        "description": lambda document: "## Description" in document.config,
    },
    "tfhub": {
        "owner": _every,
        "url": _every,
        "owner_url": _every,
        "task": _match(r"^<!-- task: "),
        "architecture": _match(r"^<!-- network-architecture: "),
        "datasets": _match(r"^<!-- dataset: "),
        "papers": _match(_PAPER),
        "licence": _match(r"^<!-- license: "),
        "library": _every,
        "tags": _match(r"^<!-- (dataset|network-architecture|parent-model|language): "),
        "description": _match(r"\A# Module .*\n+(?!<!--)\S"),
    },
    "modelhub": {
        "title": _json("name"),
        "owner": _json("github"),
        "url": _json("github"),
        "owner_url": _json("github"),
        "task": _json("task_extended"),
        "library": _json("backend"),
        "tags": _json("backend"),
        "creators": _config("publication", "authors"),
        "papers": _config("publication", "url"),
        "architecture": _config("model", "architecture"),
        "datasets": _config("meta", "data_source"),
        "licence": lambda document: bool(document.config),
        "description": _config("publication", "abstract"),
    },
}
"""Whether a document holds a fact, by hub and field; of other fields, the hub's documents hold none."""


class Count(NamedTuple):
    """How many documents of a hub hold a fact, and how many of their records have it."""

    hub: str
    field: str
    held: int
    had: int


@cache
def counts(prefix: str) -> tuple[Count, ...]:
    """Return a count for each field that a document holds or a record has."""
    return tuple(_counts(prefix))


def _counts(prefix: str) -> Iterator[Count]:
    found = documents(prefix)
    records = [facts_of(build_record(prefix, document.listed)) for document in found]
    for field in FIELDS:
        holds = HOLDING[prefix].get(field, lambda document: False)  # noqa: ARG005  # no document
        held = sum(map(holds, found))
        had = sum(field in record for record in records)
        if held or had:
            yield Count(prefix, field, held, had)


EXPLAINED = {
    ("modelhub", "datasets"): "`unet-2d` states `private`, which names no data set",
}
"""Why documents hold a fact and records lack it, by hub and field."""

_HEAD = """# What the documents of hubs hold, and what records have

The real documents that tests use, counted by `scripts/show-facts`: how many hold each fact by their own text, and how
many uniform records ([record.md](formats/record.md)) have it. Fields that neither has are left out. ModelZoo.co,
Kaggle, git remotes and folders have no documents there; licences of PyTorch Hub lie in the remotes that cards name.

| hub | documents | fact | documents that hold it | records that have it | difference |
|---|---|---|---|---|---|
"""


def render() -> str:
    """Return the page `docs/facts.md`."""
    rows = [
        f"| {prefix} | {len(documents(prefix)):,} | {each.field} | {each.held:,} | {each.had:,} | "
        f"{EXPLAINED.get((prefix, each.field), '')} |"
        for prefix in DOCUMENTS
        for each in counts(prefix)
    ]
    return _HEAD + "\n".join(rows).replace("  |", " |") + "\n"
