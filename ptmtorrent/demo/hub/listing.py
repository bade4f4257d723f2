"""The records of packages: filtered, sorted and paged."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from ptmtorrent.demo.hub.catalogue import Revision
from ptmtorrent.demo.hub.exchange import Request, Response, json_response
from ptmtorrent.demo.hub.facts import count_parameters, read_config

_BRIEF = frozenset(
    "_id id modelId likes private downloads tags pipeline_tag library_name createdAt".split()  # noqa: SIM905  # a list of words
)


def list_packages(revisions: Iterable[Revision], request: Request, page: int) -> Response:
    """Serve `GET /api/models`: the parameters of `HfApi.list_models`, at most `page` records, `Link` to the next."""
    records = [describe(revision) for revision in revisions if revision.package.access != "private"]
    records = [record for record in records if _wanted(record, request)]
    if key := request.first("sort"):
        records.sort(key=lambda record: (record.get(key) or 0, record["id"]), reverse=True)
    limit = min(int(request.first("limit") or page), page)
    chosen, headers = paged(records, request, limit)
    return json_response([trim(record, request, _BRIEF) for record in chosen], headers)


def paged(rows: Sequence[Any], request: Request, page: int) -> tuple[Sequence[Any], dict[str, str]]:
    """Return the page at the cursor of the request, and the header with the address of the next page."""
    start = _read_cursor(request.first("cursor"))
    if start + page >= len(rows):
        return rows[start:], {}
    cursor = base64.urlsafe_b64encode(str(start + page).encode()).decode()
    query = urlencode({**request.query, "cursor": [cursor]}, doseq=True)
    return rows[start : start + page], {"Link": f'<{request.base}{request.path}?{query}>; rel="next"'}


def describe(revision: Revision) -> dict[str, Any]:
    """Return the whole record of a package, as `HfApi.model_info` returns it."""
    package = revision.package
    record: dict[str, Any] = {
        "_id": revision.hub_id,
        "id": package.name,
        "modelId": package.name,
        "author": package.author,
        "sha": revision.commit,
        "lastModified": zulu(package.created_seconds),
        "createdAt": zulu(package.created_seconds),
        "private": package.access == "private",
        "gated": "manual" if package.access == "gated" else False,
        "disabled": False,
        "likes": package.likes,
        "tags": _tags(revision),
        "siblings": [{"rfilename": path} for path in revision.rows],
        "usedStorage": sum(row.content.size for row in revision.rows.values()),
    }
    optional = {
        "downloads": package.downloads,
        "downloadsAllTime": package.downloads and 12 * package.downloads,
        "pipeline_tag": package.task,
        "library_name": package.library,
        "config": read_config(revision),
        "safetensors": count_parameters(revision),
    }
    record |= {key: value for key, value in optional.items() if value is not None}
    if package.licence:
        record["cardData"] = {"license": package.licence, "base_model": list(package.base_models)}
    return record


def trim(record: dict[str, Any], request: Request, brief: frozenset[str] | None = None) -> dict[str, Any]:
    """Return the requested fields: those of `expand`, all with `full`, else `brief` (None: all)."""
    if expand := request.query.get("expand"):
        return {key: value for key, value in record.items() if key in {"_id", "id", *expand}}
    if brief is None or request.is_set("full"):
        return record
    return {key: value for key, value in record.items() if key in brief}


def zulu(seconds: int) -> str:
    """Return a time in the form that clients require: with milliseconds and a Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _tags(revision: Revision) -> list[str]:
    package = revision.package
    found = [package.library, *package.tags, package.task]
    found += [f"base_model:{base}" for base in package.base_models]
    found += [f"license:{package.licence}" if package.licence else None, "region:us"]
    return list(dict.fromkeys(tag for tag in found if tag))


def _wanted(record: dict[str, Any], request: Request) -> bool:
    for key in ("author", "pipeline_tag", "library_name"):
        if request.first(key) not in (None, record.get(key)):
            return False
    if (search := request.first("search")) and search.lower() not in record["id"].lower():
        return False
    if (gated := request.first("gated")) and (gated.lower() == "true") != bool(record["gated"]):
        return False
    return all(name in record["tags"] for name in request.query.get("filter", ()))


def _read_cursor(cursor: str | None) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor)) if cursor else 0
    except (binascii.Error, ValueError):
        return 0
