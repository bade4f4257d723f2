"""Facts about a Modelhub.ai package: its entry in the registry, its `contrib_src/model/config.json`, its licence text.

::

    {"meta": {"task": "Classification", "data_source": "http://www.image-net.org/"},
     "publication": {"authors": "A. B, C. D", "abstract": "…", "url": "https://arxiv.org/abs/1602.07360"},
     "model": {"architecture": "Convolutional Neural Network (CNN)", "format": "onnx"}}
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ptmtorrent.facts.licence_texts import name_licence
from ptmtorrent.facts.licences import UNRECOGNISED
from ptmtorrent.facts.papers import papers_in
from ptmtorrent.hubs.catalogues import Read
from ptmtorrent.hubs.facts import Answer, fill, is_web, map_text, owner_in, page_of_owner, split_people, stated
from ptmtorrent.hubs.port import Found, Listed
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.uniform_record import Facts, Text, Texts

CONFIG = "contrib_src/model/config.json"
LICENCE = "contrib_src/license/model"

_TAGS = {
    "architecture": "/model/architecture",
    "format": "/model/format",
    "learning": "/model/learning_type",
    "data": "/meta/data_type",
    "area": "/meta/application_area",
    "dataset": "/meta/data_source",
}
_NO_DATASET = {"private", "none", "n/a", "na", "-"}


def read_facts(name: str, answer: Mapping[str, Any]) -> Facts:
    """Return what the registry states about the package `name`."""
    del name
    look = Answer("record", answer)
    url, backends = look.web("/github"), look.texts("/backend")
    return stated(
        title=look.text("/name"),
        owner=owner_in(url),
        url=url,
        owner_url=page_of_owner(url),
        task=look.text("/task_extended"),
        library=Text(backends.value[0], f"{backends.source}/0") if backends else None,
        tags=backends,
    )


def with_config(listed: Listed, read: Read) -> Listed:
    """Return `listed` with the facts of the package's own files, and with tags spelled as on Hugging Face.

    ::

        architecture:Convolutional Neural Network (CNN)   dataset:http://www.image-net.org/   arxiv:1602.07360

    A malformed configuration adds nothing and does not prevent the capture. A licence text that is not recognised
    counts as a licence that is not known, whatever the rest of the repository is under.
    """
    facts = config_facts(_parse(read(CONFIG)), listed.tags)
    licence = (read(LICENCE) or b"").decode(errors="replace")
    if licence.strip():
        facts["licence"] = Text(name_licence(licence) or UNRECOGNISED, f"files/{LICENCE}")
    found = tuple(
        Found(name, fact.value, fact.source) for name, fact in facts.items() if isinstance(fact, Text | Texts)
    )
    return msgspec.structs.replace(fill(listed, facts), found=(*listed.found, *found))


def config_facts(config: Mapping[str, Any], backends: tuple[str, ...] = ()) -> Facts:
    """Return what the configuration of a package states; its tags follow those that the registry has."""
    look = Answer(f"files/{CONFIG}", config)
    url = look.text("/publication/url")
    papers = papers_in(url.value) or ((url.value,) if is_web(url.value) else ()) if url else ()
    dataset = map_text(look.text("/meta/data_source"), lambda name: None if name.lower() in _NO_DATASET else name)
    tags = tuple(dict.fromkeys((*backends, *_tags(look), *(paper for paper in papers if not is_web(paper)))))
    return stated(
        creators=split_people(look.text("/publication/authors")),
        task=look.text("/meta/task"),
        architecture=look.text("/model/architecture"),
        datasets=Texts((dataset.value,), dataset.source) if dataset else None,
        papers=Texts(papers, url.source) if url and papers else None,
        tags=Texts(tags, f"record#/backend, files/{CONFIG}") if tags != backends else None,
        description=look.description("/publication/abstract", "/model/description"),
    )


def _tags(look: Answer) -> Iterator[str]:
    for key, pointer in _TAGS.items():
        if value := look.text(pointer):
            yield f"{key}:{value.value}"


def _parse(data: bytes | None) -> dict[str, Any]:
    try:
        return decode_json(data or b"{}", dict[str, Any])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}
