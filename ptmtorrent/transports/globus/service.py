"""The Transfer service, with our errors and only what we need of it.

Retrying what may pass (429 and 503 with `Retry-After`, lost connections) is the SDK's own, bounded at six tries; what
it gives up is ours to name. Consent, login and permission all become `AuthError`, in one place.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import globus_sdk
import msgspec
import requests
from globus_sdk.token_storage import TokenValidationError
from globus_sdk.transport import RequestsTransport
from requests.adapters import HTTPAdapter

from ptmtorrent.errors import AuthError, NotFound, PtmError, TransportError
from ptmtorrent.transports.globus.hints import LOGIN_HINT, STATUS_HINT, consent_hint
from ptmtorrent.transports.globus.locations import read_host

HTTP_SECONDS = 20.0
"""The SDK would wait a minute for a reply that was lost; the same submission asked again is answered at once."""

GUEST = "GCSv5_guest_collection"
MAPPED = "GCSv5_mapped_collection"
LAST_EVENTS = 10
CHUNK_BYTES = 256 << 10
MAX_REPLY_BYTES = 64 << 20
"""The longest answer is the list of a folder of 100,000 names."""
PERMANENT_STATUSES = frozenset({400, 409, 422})
"""Statuses that say that the same request will never be accepted."""


class Rejected(TransportError):
    """The service will never accept this, however often it is asked."""


class TaskStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the service says of a task now. `nice` is its word for what keeps it, `fatal` for what ended it."""

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
    """A collection: its HTTPS server, where it has one, and whether transfers need the `data_access` consent."""

    name: str
    host: str | None
    needs_data_access: bool


class TransferService:
    """One login's view of the Transfer service."""

    def __init__(self, app: globus_sdk.GlobusApp) -> None:
        self._app = app
        self._transport = RequestsTransport(http_timeout=HTTP_SECONDS)
        for scheme in ("https://", "http://"):
            self._transport.session.mount(scheme, _Bounded())
        self._client = globus_sdk.TransferClient(app=app, transport=self._transport)

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()
        self._transport.close()

    def new_submission_id(self) -> str:
        """Return an id that makes one task of however many posts."""
        with translate_errors("a submission id"):
            return _uuid(self._client.get_submission_id()["value"])

    def submit(self, document: dict[str, Any]) -> str:
        """Post the document of a task, and return the task's id: a new one, or the one it made before.

        Raises:
            NotFound, Rejected: it will never be accepted.
        """
        with translate_errors(f"the transfer `{document.get('label')}`"):
            return _uuid(self._client.submit_transfer(document)["task_id"])

    def task(self, task: str) -> TaskStatus:
        """Return how a task is."""
        with translate_errors(f"task `{task}`"):
            return _status(self._client.get_task(task).data)

    def last_fault(self, task: str) -> str:
        """Return what the newest error event of a task says; empty when there is none."""
        with translate_errors(f"the events of task `{task}`"):
            events = self._client.task_event_list(task, limit=LAST_EVENTS)
            errors = [event for event in events if event.get("is_error")]
        return f"{errors[0].get('code')}: {errors[0].get('details')}"[:400] if errors else ""

    def cancel(self, task: str) -> None:
        """Ask for the end of a task; one that has ended already stays as it is."""
        with translate_errors(f"cancelling task `{task}`"):
            self._client.cancel_task(task)

    def describe(self, collection: str) -> CollectionFacts:
        """Return what is known of a collection."""
        with translate_errors(f"the collection `{collection}`"):
            data = self._client.get_endpoint(collection).data
        server = str(data.get("https_server") or "")
        host = read_host(server.removeprefix("https://").rstrip("/"))
        if server and host is None:
            raise TransportError(f"the collection `{collection}` says that its HTTPS server is {server!r}")
        mapped = data.get("entity_type") == MAPPED and not data.get("high_assurance")
        return CollectionFacts(name=str(data.get("display_name") or collection), host=host, needs_data_access=mapped)

    def list(self, collection: str, path: str) -> dict[str, Entry]:
        """Return what lies in a folder, by name.

        Raises:
            NotFound: there is no such folder.
        """
        with translate_errors(f"`{path}` in collection `{collection}`"):
            rows = self._client.operation_ls(collection, path=path)
            return {
                str(row["name"]): Entry(name=str(row["name"]), folder=row["type"] == "dir", size=int(row["size"] or 0))
                for row in rows
            }

    def make_folder(self, collection: str, path: str) -> None:
        """Make one folder; one that is there already is fine."""
        with translate_errors(f"making `{path}` in collection `{collection}`"):
            try:
                self._client.operation_mkdir(collection, path=path)
            except globus_sdk.TransferAPIError as error:
                if "Exists" not in str(error.code):
                    raise

    def rename(self, collection: str, old: str, new: str) -> None:
        """Give a file or folder another name. What the service does when `new` is there is the collection's choice."""
        with translate_errors(f"renaming `{old}` in collection `{collection}`"):
            self._client.operation_rename(collection, oldpath=old, newpath=new)

    def delete_folders(self, collection: str, paths: Sequence[str]) -> None:
        """Ask for the end of folders and of what is in them; one that is gone already is fine. It is not waited for."""
        with translate_errors(f"deleting `{paths[0]}` in collection `{collection}`"):
            body = globus_sdk.DeleteData(
                collection,
                label="ptmtorrent tidying",
                recursive=True,
                ignore_missing=True,
                interpret_globs=False,
                notify_on_succeeded=False,
                notify_on_failed=False,
                notify_on_inactive=False,
            )
            for path in paths:
                body.add_item(path)
            self._client.submit_delete(body)

    def allow_everyone(self, collection: str, path: str) -> bool:
        """Let anybody read below the folder `path`, without login; tell whether that was not so before."""
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


class _Bounded(HTTPAdapter):  # type: ignore[misc]  # its types are not read here
    """Reads answers itself, and none that is longer than any of this service can be."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> requests.Response:
        """Send one request; see `HTTPAdapter.send`."""
        response = super().send(request, *arguments, **named)
        data = bytearray()
        for part in response.iter_content(CHUNK_BYTES):
            data += part
            if len(data) > MAX_REPLY_BYTES:
                response.close()
                raise requests.exceptions.ContentDecodingError(f"an answer of more than {MAX_REPLY_BYTES} bytes")
        response._content = bytes(data)  # noqa: SLF001  # where `requests` keeps a body that was read
        return response


def _uuid(given: str) -> str:
    """Return an id as the service spells ids; it becomes part of addresses, and of commands that messages name."""
    return str(UUID(given))


def _status(data: dict[str, Any]) -> TaskStatus:
    fatal = data.get("fatal_error") or {}
    return TaskStatus(
        status=str(data["status"]),
        paused=bool(data.get("is_paused")),
        nice=str(data.get("nice_status_short_description") or data.get("nice_status") or ""),
        fatal=f"{fatal.get('code')}: {fatal.get('description')}" if fatal else "",
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
        raise TransportError(f"{what}: Globus answered something else than it promises: {error!r}") from error


def translate_error(error: Exception, what: str) -> PtmError:
    """Return what `error` is in our words; `what` was asked for."""
    if isinstance(error, globus_sdk.GlobusAPIError):
        return _of_answer(error, what)
    if isinstance(error, TokenValidationError):
        return AuthError(f"{what}: you are not logged in to Globus, or not for this", hint=LOGIN_HINT)
    if isinstance(error, globus_sdk.NetworkError):
        return TransportError(f"{what}: Globus cannot be reached: {error}", hint="run the same command again later")
    return TransportError(f"{what}: {type(error).__name__}: {error}")


def _of_answer(error: globus_sdk.GlobusAPIError, what: str) -> PtmError:
    said = f"{error.code or error.http_status}: {error.message or error.http_reason}"
    if isinstance(error, globus_sdk.AuthAPIError):
        return AuthError(f"{what}: Globus Auth refused the login: {said}", hint=LOGIN_HINT)
    consent = error.info.consent_required
    if consent:
        return AuthError(f"{what}: a consent is missing: {said}", hint=consent_hint(consent.required_scopes))
    if error.http_status == 401 or error.info.authorization_parameters:
        return AuthError(f"{what}: the login does not hold any more: {said}", hint=LOGIN_HINT)
    return _of_status(error, what, said)


def _of_status(error: globus_sdk.GlobusAPIError, what: str, said: str) -> PtmError:
    if error.http_status == 403:
        return AuthError(f"{what} is not permitted: {said}", hint=STATUS_HINT)
    if error.http_status == 404 or "NotFound" in str(error.code):
        return NotFound(f"{what}: there is none: {said}")
    if error.http_status in PERMANENT_STATUSES:
        return Rejected(f"{what}: Globus refused it: {said}")
    return TransportError(f"{what}: Globus answered {said}", hint="run the same command again later")
