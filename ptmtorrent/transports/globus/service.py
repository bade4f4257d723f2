"""The part of the Transfer API that this project uses, with its errors translated.

The SDK retries transient failures (429 and 503 with `Retry-After`, lost connections), at most six times; the last error
is translated here. Missing consents, logins and permissions all become `AuthError`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import globus_sdk
import msgspec
from globus_sdk.token_storage import TokenValidationError

from ptmtorrent.errors import AuthError, NotFound, PtmError, TransportError
from ptmtorrent.model.locations import read_host
from ptmtorrent.model.records import Emit, ignore
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.causes import NotPermitted
from ptmtorrent.transports.globus.hints import LOGIN_HINT, SECRET_HINT, STATUS_HINT, consent_hint
from ptmtorrent.transports.globus.paced import PacedTransport

GUEST = "GCSv5_guest_collection"
MAPPED = "GCSv5_mapped_collection"
LAST_EVENTS = 10
PERMANENT_STATUSES = frozenset({400, 409, 422})
"""Statuses of requests that will never be accepted."""


class Rejected(TransportError):
    """The service rejected the request permanently."""


class TaskStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of a task. `nice` describes what delays it, `fatal` what ended it."""

    status: str
    paused: bool
    nice: str
    fatal: str
    faults: int
    files: int
    bytes: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One name in a folder of a collection."""

    name: str
    folder: bool
    size: int


class CollectionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A collection: its HTTPS server, if any, and whether transfers need the `data_access` consent."""

    name: str
    host: str | None
    needs_data_access: bool


class TransferService:
    """The Transfer service, as seen by one login. A call that waits raises `Interrupted` once `stop` is set.

    Retries that take long are reported to `emit`.
    """

    def __init__(self, app: globus_sdk.GlobusApp, stop: Stop | None = None, emit: Emit = ignore) -> None:
        self._app = app
        self._transport = PacedTransport(stop, emit)
        self._client = globus_sdk.TransferClient(app=app, transport=self._transport)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._transport.close()

    def new_submission_id(self) -> str:
        """Return a submission id; posting it repeatedly creates one task."""
        with translate_errors("a submission id"):
            return _uuid(self._client.get_submission_id()["value"])

    def submit(self, document: dict[str, Any]) -> str:
        """Post the document of a task; return the id of the new or already existing task.

        Raises:
            NotFound, Rejected: the document will never be accepted.
        """
        with translate_errors(f"the transfer `{document.get('label')}`"):
            return _uuid(self._client.submit_transfer(document)["task_id"])

    def task(self, task: str) -> TaskStatus:
        """Return the status of a task."""
        with translate_errors(f"task `{task}`"):
            return _status(self._client.get_task(task).data)

    def last_fault(self, task: str) -> str:
        """Return the newest error event of a task; empty without one."""
        with translate_errors(f"the events of task `{task}`"):
            events = self._client.task_event_list(task, limit=LAST_EVENTS)
            errors = [event for event in events if event.get("is_error")]
        return f"{errors[0].get('code')}: {errors[0].get('details')}"[:400] if errors else ""

    def cancel(self, task: str) -> None:
        """Cancel a task; a finished task is not changed."""
        with translate_errors(f"cancelling task `{task}`"):
            self._client.cancel_task(task)

    def describe(self, collection: str) -> CollectionFacts:
        """Return the facts about a collection."""
        with translate_errors(f"the collection `{collection}`"):
            data = self._client.get_endpoint(collection).data
        server = str(data.get("https_server") or "")
        host = read_host(server.removeprefix("https://").rstrip("/"))
        if server and host is None:
            raise TransportError(f"the collection `{collection}` reports an invalid HTTPS server: {server!r}")
        mapped = data.get("entity_type") == MAPPED and not data.get("high_assurance")
        return CollectionFacts(name=str(data.get("display_name") or collection), host=host, needs_data_access=mapped)

    def list(self, collection: str, path: str) -> dict[str, Entry]:
        """Return the entries of a folder by name.

        Raises:
            NotFound: the folder does not exist.
        """
        with translate_errors(f"`{path}` in collection `{collection}`"):
            rows = self._client.operation_ls(collection, path=path)
            return {
                str(row["name"]): Entry(name=str(row["name"]), folder=row["type"] == "dir", size=int(row["size"] or 0))
                for row in rows
            }

    def make_folder(self, collection: str, path: str) -> bool:
        """Create a folder, which may exist already; return whether it is new."""
        with translate_errors(f"creating `{path}` in collection `{collection}`"):
            try:
                self._client.operation_mkdir(collection, path=path)
            except globus_sdk.TransferAPIError as error:
                if "Exists" not in str(error.code):
                    raise
                return False
        return True

    def rename(self, collection: str, old: str, new: str) -> None:
        """Rename a file or folder. Whether an existing `new` is replaced depends on the collection."""
        with translate_errors(f"renaming `{old}` in collection `{collection}`"):
            self._client.operation_rename(collection, oldpath=old, newpath=new)

    def delete(self, collection: str, paths: Sequence[str]) -> str:
        """Request deletion of files and folders, which may be missing; return the id of its task, which goes on."""
        with translate_errors(f"deleting `{paths[0]}` in collection `{collection}`"):
            body = globus_sdk.DeleteData(
                collection,
                label="ptmtorrent cleanup",
                recursive=True,
                ignore_missing=True,
                interpret_globs=False,
                notify_on_succeeded=False,
                notify_on_failed=False,
                notify_on_inactive=False,
            )
            for path in paths:
                body.add_item(path)
            return _uuid(self._client.submit_delete(body)["task_id"])

    def allow_everyone(self, collection: str, path: str) -> bool:
        """Allow anonymous reads below the folder `path`; return whether a rule was added."""
        with translate_errors(f"the access rules of collection `{collection}`"):
            rules = self._client.endpoint_acl_list(collection)
            if any(
                rule["principal_type"] == "anonymous" and path.startswith(rule["path"].rstrip("/") + "/")
                for rule in rules
            ):
                return False
            rule = {"DATA_TYPE": "access", "principal_type": "anonymous", "principal": "", "path": path}
            try:
                self._client.add_endpoint_acl_rule(collection, {**rule, "permissions": "r"})
            except globus_sdk.TransferAPIError as error:
                if "Exists" not in str(error.code):
                    raise
                return False
        return True


def _uuid(given: str) -> str:
    """Return a validated id; it becomes part of URLs, and of commands in messages."""
    return str(UUID(given))


def _status(data: dict[str, Any]) -> TaskStatus:
    fatal = data.get("fatal_error") or {}
    by_admin = str(data.get("canceled_by_admin_message") or "") if data.get("canceled_by_admin") else ""
    return TaskStatus(
        status=str(data["status"]),
        paused=bool(data.get("is_paused")),
        nice=str(data.get("nice_status_short_description") or data.get("nice_status") or ""),
        fatal=f"{fatal.get('code')}: {by_admin or fatal.get('description')}" if fatal else "",
        faults=int(data.get("faults") or 0),
        files=int(data.get("subtasks_succeeded") or 0) + int(data.get("subtasks_skipped_errors") or 0),
        bytes=int(data.get("bytes_transferred") or 0) + int(data.get("bytes_checksummed") or 0),
    )


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Translate errors of the SDK, and of malformed replies, into errors of this project; `what` was requested."""
    try:
        yield
    except (globus_sdk.GlobusError, TokenValidationError) as error:
        raise translate_error(error, what) from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise TransportError(f"{what}: Globus sent an unexpected reply: {error!r}") from error


def translate_error(error: Exception, what: str) -> PtmError:
    """Return the error of this project for `error`; `what` was requested."""
    if isinstance(error, globus_sdk.GlobusAPIError):
        return _from_reply(error, what)
    if isinstance(error, TokenValidationError):
        return AuthError(f"{what}: you are not logged in to Globus, or the login does not cover this", hint=LOGIN_HINT)
    if isinstance(error, globus_sdk.NetworkError):
        return TransportError(f"{what}: Globus cannot be reached: {error}", hint="run the same command again later")
    return TransportError(f"{what}: {type(error).__name__}: {error}")


def _from_reply(error: globus_sdk.GlobusAPIError, what: str) -> PtmError:
    reply = f"{error.code or error.http_status}: {error.message or error.http_reason}"
    if isinstance(error, globus_sdk.AuthAPIError):
        return _from_auth(error, what, reply)
    consent = error.info.consent_required
    if consent:
        return AuthError(f"{what}: a consent is missing: {reply}", hint=consent_hint(consent.required_scopes))
    if error.http_status == 401 or error.info.authorization_parameters:
        return AuthError(f"{what}: the login is no longer valid: {reply}", hint=LOGIN_HINT)
    return _from_status(error, what, reply)


def _from_auth(error: globus_sdk.AuthAPIError, what: str, reply: str) -> PtmError:
    words = f"{reply} {error.text}"
    if "invalid_client" in words or "unauthorized_client" in words:
        message = f"{what}: Globus Auth does not know this client, or its secret is wrong: {reply}"
        return AuthError(message, hint=SECRET_HINT)
    return AuthError(f"{what}: Globus Auth refused the login: {reply}", hint=LOGIN_HINT)


def _from_status(error: globus_sdk.GlobusAPIError, what: str, reply: str) -> PtmError:
    if error.http_status == 403:
        return NotPermitted(f"{what} is not permitted to your identity: {reply}", hint=STATUS_HINT)
    if error.http_status == 404 or "NotFound" in str(error.code):
        return NotFound(f"{what}: not found: {reply}")
    if error.http_status in PERMANENT_STATUSES:
        return Rejected(f"{what}: Globus rejected the request: {reply}")
    return TransportError(f"{what}: Globus returned {reply}", hint="run the same command again later")
