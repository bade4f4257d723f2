"""What the simulated service knows: collections, tokens, tasks, and the faults it was ordered to make."""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ptmtorrent.stop import Stop

TRANSFER_SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"
MAPPED = "GCSv5_mapped_collection"
GUEST = "GCSv5_guest_collection"


@dataclass
class Collection:
    """One collection: a folder, the GridFTP server that reaches it, who owns it and who else may read or write."""

    id: str
    name: str
    root: Path
    owner: str
    gridftp: Callable[[], str] = field(repr=False)
    entity_type: str = GUEST
    https: str | None = None
    rules: list[dict[str, Any]] = field(default_factory=list)
    rename_replaces: bool = True

    def local(self, path: str) -> Path:
        place = Path(f"{self.root}/{path.replace('/~/', '/', 1)}").resolve()
        if not place.is_relative_to(self.root):
            raise PermissionError(path)
        return place

    def allows(self, who: str | None, path: str, *, write: bool = False) -> bool:
        if who == self.owner:
            return True
        for rule in self.rules:
            known = rule["principal_type"] == "anonymous" or (
                who is not None and (rule["principal_type"] == "all_authenticated_users" or rule["principal"] == who)
            )
            if known and f"{path.rstrip('/')}/".startswith(rule["path"]):
                return not write or "w" in rule["permissions"]
        return False


@dataclass
class Token:
    """Who holds it, and for what."""

    who: str
    scopes: str
    valid: bool = True


@dataclass
class Fault:
    """The next `times` requests whose `METHOD /path` ends with `on` go wrong.

    They are answered with `status`, or done and never answered (`lost`).
    """

    on: str
    status: int = 503
    code: str = "ServiceUnavailable"
    times: int = 1
    retry_after: int | None = None
    lost: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class TaskFault:
    """The next `times` attempts of tasks meet `code`; with a `status` the task gets that and stays there."""

    code: str
    times: int = 1
    status: str | None = None
    paused: bool = False


@dataclass
class Task:
    """A task: the document it was submitted with, what the service says of it, and its events, oldest first."""

    body: dict[str, Any]
    owner: str
    doc: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.doc["task_id"])

    def event(self, code: str, details: str = "", *, error: bool = False) -> None:
        self.events.append(
            {
                "DATA_TYPE": "event",
                "code": code,
                "description": code.lower().replace("_", " "),
                "details": details,
                "is_error": error,
                "time": now(),
            }
        )

    def end(self, status: str, fatal: str = "") -> None:
        self.doc.update(
            status=status,
            is_ok=None,
            nice_status=None,
            nice_status_short_description=None,
            completion_time=now(),
            fatal_error={"code": fatal, "description": fatal.lower().replace("_", " ")} if fatal else None,
        )


class State:
    """Everything, under one lock.

    `asked` are the requests that came, `METHOD /path` and status; `tokens_seen` what HTTPS servers
    were given; `copying_as` is the credential that GridFTP servers are shown, as an environment.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.collections: dict[str, Collection] = {}
        self.tokens: dict[str, Token] = {}
        self.refreshes: dict[str, Token] = {}
        self.clients: dict[str, str] = {}
        self.tasks: dict[str, Task] = {}
        self.deletions: dict[str, Task] = {}
        self.by_submission: dict[tuple[str, str], str] = {}
        self.faults: list[Fault] = []
        self.task_faults: list[TaskFault] = []
        self.after_copy: list[Callable[[list[Path]], None]] = []
        self.during_copy: Callable[[list[Path]], None] = lambda _: None
        self.asked: list[tuple[str, int]] = []
        self.tokens_seen: set[str] = set()
        self.copying_as: dict[str, str] = {}
        self.closing = Stop()

    def new_token(self, who: str, scopes: str) -> str:
        with self.lock:
            token = f"token-{len(self.tokens)}-{uuid.uuid4().hex}"
            self.tokens[token] = Token(who=who, scopes=scopes)
            return token

    def expire_all(self) -> None:
        """Every token given so far is refused from now on."""
        with self.lock:
            for token in self.tokens.values():
                token.valid = False

    def holder(self, header: str | None) -> Token | None:
        token = self.tokens.get((header or "").removeprefix("Bearer "))
        return token if token and token.valid else None

    def take_fault(self, request: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and request.endswith(fault.on):
                    fault.times -= 1
                    return fault
        return None

    def take_task_fault(self) -> TaskFault | None:
        with self.lock:
            for fault in self.task_faults:
                if fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def only_task(self) -> Task:
        [task] = self.tasks.values()
        return task

    def wait_until(self, reached: Callable[[], bool], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.01)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_task_doc(body: dict[str, Any], owner: str, state: State) -> dict[str, Any]:
    """A task as `GET /task/<id>` describes it: every field of the SDK's fixture."""
    source, target = (state.collections[body[key]] for key in ("source_endpoint", "destination_endpoint"))
    return {
        "DATA_TYPE": "task",
        "bytes_checksummed": 0,
        "bytes_transferred": 0,
        "canceled_by_admin": None,
        "canceled_by_admin_message": None,
        "command": "API 0.10",
        "completion_time": None,
        "deadline": body.get("deadline") or (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds"),
        "delete_destination_extra": False,
        "destination_endpoint": f"sim#{target.name}",
        "destination_endpoint_display_name": target.name,
        "destination_endpoint_id": target.id,
        "directories": 0,
        "effective_bytes_per_second": 0,
        "encrypt_data": bool(body.get("encrypt_data")),
        "fail_on_quota_errors": bool(body.get("fail_on_quota_errors")),
        "fatal_error": None,
        "faults": 0,
        "files": len(body["DATA"]),
        "files_skipped": 0,
        "files_transferred": 0,
        "filter_rules": None,
        "history_deleted": False,
        "is_ok": True,
        "is_paused": False,
        "label": body.get("label"),
        "nice_status": None,
        "nice_status_details": None,
        "nice_status_expires_in": None,
        "nice_status_short_description": None,
        "owner_id": owner,
        "preserve_timestamp": bool(body.get("preserve_timestamp")),
        "recursive_symlinks": "ignore",
        "request_time": now(),
        "skip_source_errors": bool(body.get("skip_source_errors")),
        "source_endpoint": f"sim#{source.name}",
        "source_endpoint_display_name": source.name,
        "source_endpoint_id": source.id,
        "status": "ACTIVE",
        "subtasks_canceled": 0,
        "subtasks_expired": 0,
        "subtasks_failed": 0,
        "subtasks_pending": len(body["DATA"]),
        "subtasks_retrying": 0,
        "subtasks_skipped_errors": 0,
        "subtasks_succeeded": 0,
        "subtasks_total": len(body["DATA"]),
        "symlinks": 0,
        "sync_level": body.get("sync_level"),
        "task_id": str(uuid.uuid4()),
        "type": "TRANSFER",
        "username": "u_simulated",
        "verify_checksum": bool(body.get("verify_checksum")),
    }
