"""What the README of a package of the ONNX zoo states: licence, data set, papers, and the metrics in its tables. Pure.

::

    |Model|Download|Opset version|TOP-1 ERROR|
    |-----|:-------|:------------|:----------|
    |MNIST|[27 kB](model/mnist-1.onnx)|1 |1.1% |
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ptmtorrent.facts.licence_texts import name_licence
from ptmtorrent.facts.papers import papers_in
from ptmtorrent.hubs.facts import shorten

MAX_LINES = 5_000
MAX_ROWS = 500

_LICENCE = re.compile(r"^#{1,6}[ \t]*licen[sc]e[ \t]*#*[ \t]*\n+([^\n#].{0,200})$", re.MULTILINE | re.IGNORECASE)
_SPDX = re.compile(r"^<!--+[ \t]*SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+ -]{1,100}?)[ \t]*-+->", re.MULTILINE)
_DESCRIPTION = re.compile(r"^#{1,6}[ \t]*description[ \t]*#*[ \t]*\n+([^\n#|].{0,2000})$", re.MULTILINE | re.IGNORECASE)
_LINK = re.compile(r"\[([^\]]{0,200})\]\(([^)\s]{0,500})[^)]{0,200}\)")
_DATASET = re.compile(r"\[([^\]\n]{1,80}?) data ?set\]\(", re.IGNORECASE)
_METRIC = re.compile(r"accuracy|error|\bm?ap\b|m?iou|\bf1\b|psnr|perplexity|bleu|\bwer\b", re.IGNORECASE)
_RULE = re.compile(r"[ \t|:-]+")


def read_readme(readme: bytes, folder: str) -> dict[str, Any]:
    """Return what the README of `folder` states: `licence`, `description`, `papers`, `datasets`, and by path `models`.

    A model has its metrics, by the heading of their column, and perhaps a `Dataset`.
    """
    text = readme.decode(errors="replace").replace("\r\n", "\n")
    found = _DESCRIPTION.search(text)
    stated = {
        "licence": licence_in(readme),
        "description": shorten(plain(found[1])) if found else None,
        "papers": list(papers_in(text)),
        "datasets": list(dict.fromkeys(name.strip() for name in _DATASET.findall(text))),
        "models": dict(_models(text.split("\n")[:MAX_LINES], folder)),
    }
    return {name: value for name, value in stated.items() if value}


def licence_in(readme: bytes) -> str | None:
    """Return the licence below the heading `License`, or in an SPDX comment, as an id if it is known, or None."""
    text = readme.decode(errors="replace").replace("\r\n", "\n")
    match = _LICENCE.search(text)
    if match is None:
        stated = _SPDX.search(text)
        return stated[1].lower() if stated else None
    words = plain(match[1]).strip().strip("*_`.")
    return name_licence(words) or words or None


def plain(text: str) -> str:
    """Return Markdown without the addresses of its links."""
    return _LINK.sub(r"\1", text)


def _models(lines: Sequence[str], folder: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the path in the zoo of each model in a table, and the metrics in its row."""
    head: list[str] = []
    rows = 0
    for before, line in zip(("", *lines), lines, strict=False):
        if "|" not in line:
            head = []
        elif not head and _RULE.fullmatch(line) and "|" in before:
            head = [plain(cell) for cell in _cells(before)]
        elif head and rows < MAX_ROWS:
            rows += 1
            yield from _row(dict(zip(head, _cells(line), strict=False)), folder)


def _row(cells: Mapping[str, str], folder: str) -> Iterator[tuple[str, dict[str, str]]]:
    targets = [target for cell in cells.values() for _, target in _LINK.findall(cell)]
    path = next((target for target in targets if target.endswith(".onnx") and "://" not in target), None)
    stated = {
        name: value
        for name, cell in cells.items()
        if (_METRIC.search(name) or name.lower() == "dataset") and (value := " ".join(plain(cell).split()))
    }
    if path is not None and stated:
        yield posixpath.normpath(f"{folder}/{path}"), stated


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
