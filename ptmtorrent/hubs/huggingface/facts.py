"""What a record of Hugging Face states: its fields, and the tags that begin with `license:`, `dataset:`, `arxiv:`.

::

    {"id": "org/name", "pipeline_tag": "fill-mask", "tags": ["bert", "license:mit", "dataset:squad"]}
"""

from collections.abc import Mapping
from typing import Any

from ptmtorrent.hubs.facts import Answer, clean, is_web, stated
from ptmtorrent.model.uniform_record import Facts, Text, Texts

ANSWER = "model_info"
WEB = "https://huggingface.co"
MAX_TAGS = 1024

_PAPERS = ("arxiv:", "doi:")


def read_facts(name: str, answer: Mapping[str, Any]) -> Facts:
    """Return what the record of the package `name` states."""
    look = Answer(ANSWER, answer)
    tags = look.texts("/tags", most=MAX_TAGS)
    owner = look.text("/author") or (Text(name.partition("/")[0], "package") if "/" in name else None)
    return stated(
        owner=owner,
        url=_page(name, "package"),
        owner_url=_page(owner.value, owner.source) if owner else None,
        revision=look.text("/sha"),
        task=look.text("/pipeline_tag"),
        architecture=look.text("/config/model_type"),
        datasets=_tagged(tags, "dataset:"),
        papers=_tagged(tags, *_PAPERS),
        metrics=_metrics(answer),
        licence=_licence(answer, tags),
        library=look.text("/library_name"),
        tags=tags,
        downloads=look.count("/downloads"),
        likes=look.count("/likes"),
        modified=look.text("/lastModified"),
    )


def _page(path: str, source: str) -> Text | None:
    url = f"{WEB}/{path}"
    return Text(url, source) if is_web(url) else None


def _licence(answer: Mapping[str, Any], tags: Texts | None) -> Text | None:
    found = _tagged(tags, "license:")
    if found is None:
        return None
    listed = answer.get("tags")
    rows = [row for row, tag in enumerate(listed or ()) if isinstance(tag, str) and tag.startswith("license:")]
    source = f"{found.source}/{rows[0]}" if len(rows) == 1 else found.source
    return Text(" AND ".join(found.value), source)


def _tagged(tags: Texts | None, *starts: str) -> Texts | None:
    """Return the tags that begin with any of `starts`, which is removed if it is the only one."""
    bare = len(starts) == 1
    found = [tag for tag in (tags.value if tags else ()) if tag.startswith(starts) and tag not in starts]
    kept = tuple(dict.fromkeys(tag.removeprefix(starts[0]) if bare else tag for tag in found))
    return Texts(kept, tags.source) if tags and kept else None


def _metrics(answer: Mapping[str, Any]) -> Texts | None:
    """Return the results that the card states in its `model-index`, such as `accuracy 0.91 (imdb)`."""
    card = answer.get("cardData")
    index = card.get("model-index") if isinstance(card, dict) else None
    found: dict[str, None] = {}
    for result in _objects(index, "results"):
        dataset = result.get("dataset")
        on = dataset.get("name") if isinstance(dataset, dict) else None
        for metric in _objects([result], "metrics"):
            kind, value = metric.get("type"), metric.get("value")
            if isinstance(kind, str) and isinstance(value, (int, float, str)) and not isinstance(value, bool):
                where = f" ({on})" if isinstance(on, str) else ""
                found[clean(f"{kind} {value}{where}")[:200]] = None
    return Texts(tuple(found)[:64], f"{ANSWER}#/cardData/model-index") if found else None


def _objects(rows: object, key: str) -> list[dict[str, Any]]:
    """Return the objects in the lists that the objects in `rows` have as `key`."""
    lists = [row.get(key) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [each for found in lists if isinstance(found, list) for each in found if isinstance(each, dict)]
