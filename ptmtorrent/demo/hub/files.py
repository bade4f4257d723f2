"""The routes of files: small files are served directly, LFS files by a redirect to another origin."""

from ptmtorrent.demo.contents import Content, InMemory
from ptmtorrent.demo.hub.catalogue import Revision, Row
from ptmtorrent.demo.hub.exchange import Response
from ptmtorrent.demo.hub.faults import Faults


def resolve(revision: Revision, row: Row, lfs_base: str, faults: Faults) -> Response:
    """Serve `GET /{id}/resolve/{revision}/{path}`.

    An LFS file is a 302 to another origin, which detects a client that forwards its token.
    """
    headers = {"X-Repo-Commit": revision.commit, "Accept-Ranges": "bytes"}
    if not row.sha256:
        return _serve(row.content, row, faults, headers)
    linked = {"X-Linked-Size": str(row.content.size), "X-Linked-ETag": f'"{row.sha256}"', "ETag": f'"{row.git_id}"'}
    if row.path in faults.serve_pointer:
        return _serve(InMemory(row.pointer), row, faults, headers)
    location = {"Location": f"{lfs_base}/lfs/{row.sha256}"}
    return Response(status=302, headers={**headers, **linked, **location}, kind="text/plain")


def raw(revision: Revision, row: Row, faults: Faults) -> Response:
    """Serve `GET /{id}/raw/{revision}/{path}`: the git blob, which for an LFS file is the pointer."""
    content = InMemory(row.pointer) if row.sha256 else row.content
    return _serve(content, row, faults, {"X-Repo-Commit": revision.commit})


def lfs_object(row: Row, faults: Faults) -> Response:
    """Serve `GET /lfs/{oid}` on the second origin."""
    return _serve(row.content, row, faults, {"Accept-Ranges": "bytes"})


def _serve(content: Content, row: Row, faults: Faults, headers: dict[str, str]) -> Response:
    if row.path in faults.flip:
        content = _flipped(content)
    return Response(
        status=200,
        headers={**headers, "ETag": f'"{row.etag}"'},
        content=content,
        kind="application/octet-stream",
        ranged=not faults.ignore_range,
    )


def _flipped(content: Content) -> Content:
    data = bytearray(b"".join(content.chunks(0, content.size)))
    data[len(data) // 2] ^= 1
    return InMemory(bytes(data))
