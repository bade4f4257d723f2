"""The routes below `/api`: listing, package, tree, paths, refs, commits, and the identity of the caller."""

import json
from typing import Any
from urllib.parse import parse_qs

from ptmtorrent.demo.hub.catalogue import Revision, Row
from ptmtorrent.demo.hub.exchange import Request, Response, json_response, refusal
from ptmtorrent.demo.hub.listing import describe, paged, trim, zulu

TREE_PAGE = 1000
TITLE = "Add the model"


def whoami(request: Request, token: str) -> Response:
    """Serve `GET /api/whoami-v2`."""
    if request.token != token:
        return refusal(401, "", "Invalid user token." if request.token else "Log in to see who you are.")
    return json_response({"type": "user", "name": "sample-user", "auth": {"type": "access_token"}, "orgs": []})


def package_info(revision: Revision, request: Request) -> Response:
    """Serve `GET /api/models/{id}[/revision/{revision}]`; `blobs` adds sizes and hashes to the files."""
    record = describe(revision)
    if request.is_set("blobs"):
        record["siblings"] = [_sibling(row) for row in revision.rows.values()]
    if request.is_set("securityStatus"):
        record["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    return json_response(trim(record, request))


def tree(revision: Revision, request: Request, folder: str, page: int = TREE_PAGE) -> Response:
    """Serve `GET /api/models/{id}/tree/{revision}[/{folder}]`, in pages."""
    if folder and folder not in revision.folders:
        return entry_not_found(revision)
    prefix = f"{folder}/" if folder else ""
    recursive = request.is_set("recursive")
    paths = [*revision.folders, *revision.rows]
    inside = [
        path for path in sorted(paths) if path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :])
    ]
    chosen, headers = paged(inside, request, page)
    return json_response([_entry(revision, path, expand=request.is_set("expand")) for path in chosen], headers)


def paths_info(revision: Revision, request: Request) -> Response:
    """Serve `POST /api/models/{id}/paths-info/{revision}`, whose body is a form or JSON."""
    form: dict[str, Any] = json.loads(request.body) if request.body[:1] == b"{" else parse_qs(request.body.decode())
    requested = form.get("paths", [])
    expand = form.get("expand") in (True, ["true"])
    known = [path for path in requested if path in revision.rows or path in revision.folders]
    return json_response([_entry(revision, path, expand=expand) for path in known])


def refs(revision: Revision) -> Response:
    """Serve `GET /api/models/{id}/refs`: one branch."""
    branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": revision.commit}
    return json_response({"branches": [branch], "tags": [], "converts": []})


def commits(revision: Revision) -> Response:
    """Serve `GET /api/models/{id}/commits/{revision}`: one commit."""
    commit = {
        "id": revision.commit,
        "title": TITLE,
        "message": "",
        "authors": [{"user": "sample-hub"}],
        "date": zulu(revision.package.created_seconds),
    }
    return json_response([commit])


def entry_not_found(revision: Revision) -> Response:
    """Return the reply for a path that is not in the commit."""
    return refusal(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": revision.commit})


def _entry(revision: Revision, path: str, *, expand: bool) -> dict[str, Any]:
    row = revision.rows.get(path)
    if row is None:
        entry: dict[str, Any] = {"type": "directory", "oid": revision.folders[path], "size": 0, "path": path}
    else:
        entry = {"type": "file", "oid": row.git_id, "size": row.content.size, "path": path}
        if row.sha256:
            entry["lfs"] = {"oid": row.sha256, "size": row.content.size, "pointerSize": len(row.pointer)}
    if expand:
        date = zulu(revision.package.created_seconds)
        entry["lastCommit"] = {"id": revision.commit, "title": TITLE, "date": date}
    return entry


def _sibling(row: Row) -> dict[str, Any]:
    sibling: dict[str, Any] = {"rfilename": row.path, "size": row.content.size, "blobId": row.git_id}
    if row.sha256:
        sibling["lfs"] = {"sha256": row.sha256, "size": row.content.size, "pointerSize": len(row.pointer)}
    return sibling
