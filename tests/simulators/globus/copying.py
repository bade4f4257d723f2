"""Runs tasks: third-party copies between two GridFTP servers, by globus-url-copy, as the service drives its own."""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.simulators.globus.state import Collection, State, Task

MAX_FAULTS = 8
RETRY_SECONDS = 0.3
CHECKSUM = 3
COMMAND = ("globus-url-copy", "-fast", "-pp", "-cc", "2", "-cd")


def run_task(state: State, task: Task) -> None:
    """Work on `task` until it has ended, is inactive, or the simulator closes."""
    task.event("STARTED")
    while task.doc["status"] == "ACTIVE" and not state.closing.is_set():
        if not _meets_fault(state, task) and _attempt(state, task):
            return
        state.closing.wait(RETRY_SECONDS)


def _meets_fault(state: State, task: Task) -> bool:
    fault = state.take_task_fault()
    if fault is None:
        return False
    task.event(fault.code, "550 ordered by the test", error=True)
    _trouble(task, fault.code)
    task.doc["is_paused"] = fault.paused
    if fault.status == "FAILED":
        task.end("FAILED", fault.code)
    elif fault.status:
        task.doc["status"] = fault.status
    return True


def _trouble(task: Task, code: str) -> None:
    task.doc["faults"] += 1
    task.doc.update(is_ok=False, nice_status=code, nice_status_short_description=code.lower().replace("_", " "))


def _attempt(state: State, task: Task) -> bool:
    """Copy what is missing; tell whether the task has ended."""
    source = state.collections[task.body["source_endpoint"]]
    target = state.collections[task.body["destination_endpoint"]]
    pairs = _pairs(task.body, source, target)
    if missing := [str(come_from) for come_from, _ in pairs if not come_from.exists()]:
        task.event("FILE_NOT_FOUND", f"550-GlobusError: v=1 c=PATH_NOT_FOUND {missing[0]}", error=True)
        _trouble(task, "FILE_NOT_FOUND")
        task.end("FAILED", "FILE_NOT_FOUND")
        return True
    todo = [pair for pair in pairs if not (task.body.get("sync_level") == CHECKSUM and _same(*pair))]
    task.doc["files_skipped"] = len(pairs) - len(todo)
    code, said = _copy(state, task, todo, source, target) if todo else (0, "")
    if task.doc["status"] != "ACTIVE":
        return True
    if code == 0:
        moved = sum(go_to.stat().st_size for _, go_to in todo)
        for action in state.after_copy:
            action([go_to for _, go_to in todo])
        task.doc.update(
            files_transferred=len(todo),
            subtasks_pending=0,
            subtasks_succeeded=len(pairs),
            bytes_transferred=moved,
        )
        task.end("SUCCEEDED")
        task.event("SUCCEEDED", f"{len(todo)} files")
        return True
    trouble = "PERMISSION_DENIED" if "not allowed" in said or "denied" in said else "CONNECT_FAILED"
    task.event(trouble, said[-600:], error=True)
    _trouble(task, trouble)
    if task.doc["faults"] > MAX_FAULTS:
        task.end("FAILED", trouble)
    return task.doc["status"] != "ACTIVE"


def _pairs(body: dict[str, Any], source: Collection, target: Collection) -> list[tuple[Path, Path]]:
    found = []
    for item in body["DATA"]:
        come_from, go_to = source.local(item["source_path"]), target.local(item["destination_path"])
        if item.get("recursive"):
            files = [path for path in sorted(come_from.rglob("*")) if path.is_file()]
            found += [(path, go_to / path.relative_to(come_from)) for path in files]
        else:
            found.append((come_from, go_to))
    return found


def _same(left: Path, right: Path) -> bool:
    return (
        right.is_file()
        and left.stat().st_size == right.stat().st_size
        and hashlib.sha256(left.read_bytes()).digest() == hashlib.sha256(right.read_bytes()).digest()
    )


def _copy(
    state: State, task: Task, todo: list[tuple[Path, Path]], source: Collection, target: Collection
) -> tuple[int, str]:
    with tempfile.NamedTemporaryFile("w", suffix=".list") as listing:
        for left, right in todo:
            listing.write(f'"{source.gridftp()}{quote(str(left))}" "{target.gridftp()}{quote(str(right))}"\n')
        listing.flush()
        verify = ("-verify-checksum", "-checksum-alg", "SHA256") if task.body.get("verify_checksum") else ("-p", "4")
        private = ("-dcpriv",) if state.copying_as else ()
        process = subprocess.Popen(
            [*COMMAND, *verify, *private, "-f", listing.name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **state.copying_as},
        )
        targets = [right for _, right in todo]
        while process.poll() is None:
            if task.doc["status"] != "ACTIVE" or state.closing.is_set():
                process.kill()
            state.during_copy(targets)
            _count(task, targets)
            state.closing.wait(0.02)
        assert process.stderr is not None
        with process.stderr:
            return process.returncode, process.stderr.read().strip()


def _count(task: Task, targets: list[Path]) -> None:
    sizes = []
    for path in targets:
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:
            continue
    task.doc["bytes_transferred"] = sum(sizes)
