"""Finds papers in texts and addresses: arXiv ids and DOIs, spelled as the tags of Hugging Face are.

::

    https://arxiv.org/pdf/1409.4842.pdf             arxiv:1409.4842
    https://doi.org/10.1371/journal.pmed.1002711    doi:10.1371/journal.pmed.1002711
"""

import re

MAX_PAPERS = 64
"""Limit of papers of a package; a survey of the field names hundreds."""

_MAX_TEXT = 1 << 20
_PAPER = re.compile(
    r"arxiv\.org/(?:abs|pdf|html)/(?P<arxiv>[0-9]{4}\.[0-9]{4,5}|[a-z-]{2,12}(?:\.[A-Z]{2})?/[0-9]{7})"
    r"|\b(?P<doi>10\.[0-9]{4,9}/[^\s\"<>?#|{}\\^`\]]{1,200})",
    re.IGNORECASE,
)


def papers_in(text: str) -> tuple[str, ...]:
    """Return the papers that `text` names, each once, in its order."""
    found: dict[str, None] = {}
    for match in _PAPER.finditer(text[:_MAX_TEXT]):
        found[f"arxiv:{match['arxiv']}" if match["arxiv"] else f"doi:{_trimmed(match['doi'])}"] = None
        if len(found) == MAX_PAPERS:
            break
    return tuple(found)


def _trimmed(doi: str) -> str:
    """Return a DOI without the marks of the sentence or link around it."""
    doi = doi.rstrip(".,;:'*_/")
    while doi.endswith(")") and doi.count(")") > doi.count("("):
        doi = doi[:-1].rstrip(".,;:'*_/")
    return doi
