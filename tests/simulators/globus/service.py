"""The HTTP face: Transfer API v0.10, the token endpoint, and the question nginx asks for each file of a collection."""

import base64
import json
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.simulators.globus.copying import run_task
from tests.simulators.globus.state import MAPPED, TRANSFER_SCOPE, Collection, State, Task, Token, new_task_doc

NOBODY = 65534
ENDPOINT = {
    "organization": "Example",
    "username": "owner",
    "description": "simulated",
    "public": True,
    "high_assurance": False,
    "acl_available": True,
    "acl_editable": True,
    "activated": True,
    "shareable": True,
    "in_use": False,
    "expires_in": -1,
    "expire_time": "2000-01-02 03:45:06+00:00",
    "french_english_bilingual": False,
    "is_globus_connect": False,
    "s3_owner_activated": False,
    "disable_verify": False,
    "disable_anonymous_writes": False,
    "force_verify": False,
    "force_encryption": False,
    "mfa_required": False,
    "non_functional": False,
    **dict.fromkeys(
        (
            *("globus_connect_setup_key", "gcp_connected", "gcp_paused", "s3_url", "host_endpoint_id", "host_path"),
            *("myproxy_server", "myproxy_dn", "non_functional_endpoint_display_name", "non_functional_endpoint_id"),
            *("oauth_server", "default_directory"),
        )
    ),
    "DATA": [],
}


class Refused(Exception):
    """An error document."""

    def __init__(self, status: int, code: str, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, **extra}


class Service(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, state: State) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.state = state

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of ours."""


@contextmanager
def serve(state: State) -> Iterator[Service]:
    server = Service(state)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # headers and body in one packet: two would wait 40 ms for each other
    server: Service

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        url = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request, state = f"{method} {url.path}", self.server.state
        fault = state.take_fault(request)
        if fault and not fault.lost:
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            self._answer(request, fault.status, {"code": fault.code, "message": "ordered", **fault.extra}, headers)
            return
        try:
            status, body = self._route(method, url.path, {k: v[0] for k, v in parse_qs(url.query).items()}, raw)
        except Refused as refused:
            status, body = refused.status, {**refused.body, "resource": url.path}
        if fault:
            state.asked.append((request, 0))
            self.close_connection = True
            return
        self._answer(request, status, body, {})

    def _answer(self, request: str, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        self.server.state.asked.append((request, status))
        data = json.dumps({"request_id": uuid.uuid4().hex[:9], **body}).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _route(self, method: str, path: str, query: dict[str, str], raw: bytes) -> tuple[int, dict[str, Any]]:
        if path == "/v2/oauth2/token":
            return 200, self._tokens(raw)
        if match := re.fullmatch("/_https/(.+)", path):
            return self._may_read(match[1]), {}
        token = self.server.state.holder(self.headers.get("Authorization"))
        if token is None:
            raise Refused(401, "AuthenticationFailed", "Token is not active")
        body = json.loads(raw) if raw else {}
        for verb, pattern, answer in ROUTES:
            if verb == method and (match := re.fullmatch(f"/v0.10{pattern}", path)):
                result = answer(self.server.state, token, {**query, **body}, *match.groups())
                return result if isinstance(result, tuple) else (200, result)
        raise Refused(404, "ClientError.NotFound", f"no route {method} {path}")

    def _tokens(self, raw: bytes) -> dict[str, Any]:
        form = {key: value[0] for key, value in parse_qs(raw.decode()).items()}
        state = self.server.state
        if form.get("grant_type") == "refresh_token":
            held = state.refreshes.get(form["refresh_token"])
            if held is None or not held.valid:
                raise Refused(400, "Error", "invalid_grant", error="invalid_grant")
            return self._grant(held.who, [held.scopes], form["refresh_token"])
        kind, _, secret = self.headers.get("Authorization", "").partition(" ")
        client, _, given = base64.b64decode(secret).decode().partition(":") if kind == "Basic" else ("", "", "")
        if state.clients.get(client) != given or not client:
            raise Refused(401, "Error", "invalid_client", error="invalid_client")
        return self._grant(client, _by_server(form.get("scope", "")), None)

    def _grant(self, who: str, scopes: list[str], refresh: str | None) -> dict[str, Any]:
        tokens = [
            {
                "access_token": self.server.state.new_token(who, scope),
                "scope": re.sub(r"\[[^\]]*\]", "", scope),
                "expires_in": 172800,
                "token_type": "Bearer",
                "resource_server": server_of(scope),
                **({"refresh_token": refresh} if refresh else {}),
            }
            for scope in scopes
        ]
        return {**tokens[0], "other_tokens": tokens[1:]}

    def _may_read(self, collection: str) -> int:
        state = self.server.state
        path = unquote(urlsplit(self.headers.get("X-Original-URI", "/")).path)
        header = self.headers.get("Authorization")
        token = state.holder(header)
        state.tokens_seen |= {header} if header else set()
        if header and (token is None or collection not in token.scopes):
            return 401
        if state.collections[collection].allows(token.who if token else None, path):
            return 200
        return 403 if token else 401


def server_of(scope: str) -> str:
    """The resource server of a scope."""
    if scope.startswith(TRANSFER_SCOPE):
        return "transfer.api.globus.org"
    if match := re.search("/scopes/([^/]+)/https", scope):
        return match[1]
    return "auth.globus.org"


def _by_server(text: str) -> list[str]:
    found: dict[str, list[str]] = {}
    for scope in re.findall(r"[^\s\[]+(?:\[[^\]]*\])?", text):
        found.setdefault(server_of(scope), []).append(scope)
    return [" ".join(scopes) for scopes in found.values()]


def _collection(state: State, number: str) -> Collection:
    if number not in state.collections:
        raise Refused(404, "EndpointNotFound", f"No such endpoint '{number}'")
    return state.collections[number]


def _consented(token: Token, collection: Collection) -> None:
    if collection.entity_type != MAPPED or f"{collection.id}/data_access" in token.scopes:
        return
    scope = f"{TRANSFER_SCOPE}[*https://auth.globus.org/scopes/{collection.id}/data_access]"
    raise Refused(403, "ConsentRequired", "Missing required data_access consent", required_scopes=[scope])


def _place(state: State, token: Token, number: str, path: str, *, write: bool = False) -> Path:
    collection = _collection(state, number)
    _consented(token, collection)
    if not collection.allows(token.who, path, write=write):
        raise Refused(403, "EndpointPermissionDenied", "Denied by endpoint, Path not allowed")
    return collection.local(path)


def _submit(state: State, token: Token, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    if not body.get("submission_id"):
        raise Refused(400, "ClientError.BadRequest", "Missing submission_id")
    if not body.get("DATA"):
        raise Refused(400, "ClientError.BadRequest.NoTransferItems", "A transfer requires at least one item")
    for end, key, write in (
        ("source_endpoint", "source_path", False),
        ("destination_endpoint", "destination_path", True),
    ):
        collection = _collection(state, body[end])
        _consented(token, collection)
        if not all(collection.allows(token.who, item[key], write=write) for item in body["DATA"]):
            raise Refused(403, "PermissionDenied", f"No effective ACL rules on the endpoint '{collection.id}'")
    with state.lock:
        key = (token.who, body["submission_id"])
        code, status = ("Duplicate", 200) if key in state.by_submission else ("Accepted", 202)
        if code == "Accepted":
            task = Task(body=body, owner=token.who, doc=new_task_doc(body, token.who, state))
            state.tasks[task.id] = task
            state.by_submission[key] = task.id
            threading.Thread(target=run_task, args=(state, task), daemon=True).start()
        number = state.by_submission[key]
    link = {
        "DATA_TYPE": "link",
        "href": f"/v0.10/task/{number}?format=json",
        "rel": "related",
        "resource": "task",
        "title": "related task",
    }
    message = "The transfer has been accepted and a task has been created and queued for execution"
    return status, {
        "DATA_TYPE": "transfer_result",
        "code": code,
        "message": message,
        "resource": "/v0.10/transfer",
        "submission_id": body["submission_id"],
        "task_id": number,
        "task_link": link,
    }


def _delete(state: State, token: Token, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Done at once; its task can be looked at."""
    if not body.get("DATA"):
        raise Refused(400, "ClientError.BadRequest.NoTransferItems", "A delete requires at least one item")
    for item in body["DATA"]:
        place = _place(state, token, body["endpoint"], item["path"], write=True)
        if not body.get("recursive"):
            raise Refused(400, "ClientError.BadRequest", "a folder is deleted with all of it")
        if place.is_file():
            place.unlink()
        else:
            shutil.rmtree(place, ignore_errors=bool(body.get("ignore_missing")))
    both = {"source_endpoint": body["endpoint"], "destination_endpoint": body["endpoint"]}
    task = Task(body=body, owner=token.who, doc=new_task_doc({**body, **both}, token.who, state))
    task.doc.update(type="DELETE", destination_endpoint=None, destination_endpoint_id=None)
    task.end("SUCCEEDED")
    number = task.id
    state.deletions[number] = task
    link = {
        "DATA_TYPE": "link",
        "href": f"/v0.10/task/{number}?format=json",
        "rel": "related",
        "resource": "task",
        "title": "related task",
    }
    return 202, {
        "DATA_TYPE": "delete_result",
        "code": "Accepted",
        "message": "The delete has been accepted and a task has been created and queued for execution",
        "resource": "/v0.10/delete",
        "submission_id": body.get("submission_id") or str(uuid.uuid4()),
        "task_id": number,
        "task_link": link,
    }


def _task(state: State, token: Token, number: str) -> Task:
    task = state.tasks.get(number) or state.deletions.get(number)
    if task is None or task.owner != token.who:
        raise Refused(404, "ClientError.NotFound", f"Task ID '{number}' not found")
    return task


def _get_task(state: State, token: Token, _: dict[str, Any], number: str) -> dict[str, Any]:
    return dict(_task(state, token, number).doc)


def _cancel(state: State, token: Token, _: dict[str, Any], number: str) -> dict[str, Any]:
    task = _task(state, token, number)
    if task.doc["status"] in {"ACTIVE", "INACTIVE"}:
        task.end("FAILED", "CANCELED")
    message = "The task has been cancelled successfully."
    return {"DATA_TYPE": "result", "code": "Canceled", "message": message, "resource": f"/task/{number}/cancel"}


def _page(kind: str, rows: list[dict[str, Any]], limit: int = 1000) -> dict[str, Any]:
    return {"DATA_TYPE": kind, "length": len(rows), "limit": limit, "offset": 0, "total": len(rows), "DATA": rows}


def _events(state: State, token: Token, _: dict[str, Any], number: str) -> dict[str, Any]:
    return _page("event_list", _task(state, token, number).events[::-1], 10)


def _successful(state: State, token: Token, _: dict[str, Any], number: str) -> dict[str, Any]:
    task = _task(state, token, number)
    done = task.body["DATA"] if task.doc["status"] == "SUCCEEDED" else []
    rows = [
        {
            "DATA_TYPE": "successful_transfer",
            "source_path": item["source_path"],
            "destination_path": item["destination_path"],
        }
        for item in done
    ]
    return {"DATA_TYPE": "successful_transfers", "marker": 0, "next_marker": None, "DATA": rows}


def _task_list(state: State, token: Token, _: dict[str, Any]) -> dict[str, Any]:
    return _page("task_list", [dict(task.doc) for task in state.tasks.values() if task.owner == token.who][::-1])


def _endpoint(state: State, _: Token, __: dict[str, Any], number: str) -> dict[str, Any]:
    found = _collection(state, number)
    named = {"id": found.id, "display_name": found.name, "entity_type": found.entity_type}
    return {"DATA_TYPE": "endpoint", **ENDPOINT, **named, "https_server": found.https, "owner_id": found.owner}


def _list_rules(state: State, token: Token, _: dict[str, Any], number: str) -> dict[str, Any]:
    found = _collection(state, number)
    if token.who != found.owner:
        raise Refused(403, "PermissionDenied", "You do not have the required effective role")
    return _page("access_list", found.rules)


def _add_rule(state: State, token: Token, body: dict[str, Any], number: str) -> tuple[int, dict[str, Any]]:
    found = _collection(state, number)
    if token.who != found.owner:
        raise Refused(403, "PermissionDenied", "You do not have the required effective role")
    if any(rule["path"] == body["path"] and rule["principal_type"] == body["principal_type"] for rule in found.rules):
        raise Refused(409, "Exists", "This access rule exists already")
    if not body["path"].endswith("/"):
        raise Refused(400, "ClientError.BadRequest", "a path ends with a slash")
    rule = {
        "id": str(uuid.uuid4()),
        **{key: body[key] for key in ("path", "permissions", "principal", "principal_type")},
    }
    found.rules.append({"DATA_TYPE": "access", **rule})
    result = {"DATA_TYPE": "access_create_result", "code": "Created", "access_id": rule["id"]}
    return 201, {**result, "message": "Access rule created successfully."}


def _entry(path: Path, name: str) -> dict[str, Any]:
    facts = path.stat()
    links = dict.fromkeys(("link_group", "link_last_modified", "link_size", "link_target", "link_user"))
    return {
        "DATA_TYPE": "file",
        "name": name,
        "type": "dir" if path.is_dir() else "file",
        "size": facts.st_size,
        "permissions": f"{facts.st_mode & 0o7777:04o}",
        "user": "user",
        "group": "group",
        "last_modified": datetime.fromtimestamp(int(facts.st_mtime), UTC).isoformat(" "),
        **links,
    }


def _ls(state: State, token: Token, query: dict[str, Any], number: str) -> dict[str, Any]:
    path = query.get("path") or "/"
    place = _place(state, token, number, path)
    if not place.is_dir():
        raise Refused(404, "ClientError.NotFound", f"Directory '{path}' not found on endpoint")
    rows = [_entry(child, child.name) for child in sorted(place.iterdir())]
    known = {"endpoint": number, "path": path, "absolute_path": None, "rename_supported": True}
    return {**_page("file_list", rows, 100_000), **known, "symlink_supported": True}


def _stat(state: State, token: Token, query: dict[str, Any], number: str) -> dict[str, Any]:
    place = _place(state, token, number, query["path"])
    if not place.exists():
        raise Refused(404, "NotFound", "Path not found, Error (list)")
    return _entry(place, place.name)


def _mkdir(state: State, token: Token, body: dict[str, Any], number: str) -> dict[str, Any]:
    place = _place(state, token, number, body["path"], write=True)
    try:
        place.mkdir()
    except FileExistsError as error:
        raise Refused(502, "ExternalError.MkdirFailed.Exists", "Path already exists") from error
    except FileNotFoundError as error:
        raise Refused(404, "ExternalError.MkdirFailed.NotFound", "Path not found") from error
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)
    message = "The directory was created successfully"
    return {"DATA_TYPE": "mkdir_result", "code": "DirectoryCreated", "message": message, "resource": "/mkdir"}


def _rename(state: State, token: Token, body: dict[str, Any], number: str) -> dict[str, Any]:
    old = _place(state, token, number, body["old_path"], write=True)
    new = _place(state, token, number, body["new_path"], write=True)
    if not old.exists() or not new.parent.is_dir():
        raise Refused(404, "EndpointError", "No such file or directory")
    if new.exists() and (new.is_dir() or not state.collections[number].rename_replaces):
        raise Refused(502, "ExternalError.RenameFailed.Exists", "File exists")
    old.rename(new)
    message = "File or directory renamed successfully"
    return {"DATA_TYPE": "result", "code": "FileRenamed", "message": message, "resource": "/rename"}


ID = "([^/]+)"
ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/submission_id", lambda *_: {"DATA_TYPE": "submission_id", "value": str(uuid.uuid1())}),
    ("POST", "/transfer", _submit),
    ("POST", "/delete", _delete),
    ("GET", f"/task/{ID}", _get_task),
    ("POST", f"/task/{ID}/cancel", _cancel),
    ("GET", f"/task/{ID}/event_list", _events),
    ("GET", f"/task/{ID}/successful_transfers", _successful),
    ("GET", "/task_list", _task_list),
    ("GET", f"/endpoint/{ID}", _endpoint),
    ("GET", f"/endpoint/{ID}/access_list", _list_rules),
    ("POST", f"/endpoint/{ID}/access", _add_rule),
    ("GET", f"/operation/endpoint/{ID}/ls", _ls),
    ("GET", f"/operation/endpoint/{ID}/stat", _stat),
    ("POST", f"/operation/endpoint/{ID}/mkdir", _mkdir),
    ("POST", f"/operation/endpoint/{ID}/rename", _rename),
]
