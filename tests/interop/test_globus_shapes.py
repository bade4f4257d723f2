"""The simulator answers with every field, of the right type, that the SDK's recorded answers have."""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.simulators.globus.service import serve
from tests.simulators.globus.state import TRANSFER_SCOPE, Collection, State, Task, new_task_doc

pytest.importorskip("responses", reason="globus_sdk.testing needs it")
A, B = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
OWNER, OTHER = "owner", "other"
OPERATION = f"/v0.10/operation/endpoint/{A}"
ITEM = {"DATA_TYPE": "transfer_item", "source_path": "/f", "destination_path": "/g"}
SUBMISSION = {"DATA_TYPE": "transfer", "source_endpoint": A, "destination_endpoint": B}


@pytest.fixture
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[State, str, dict[str, str]]]:
    state = State()
    for number in (A, B):
        root = tmp_path_factory.mktemp("root")
        (root / "f").write_bytes(b"four")
        state.collections[number] = Collection(id=number, name="c", root=root, owner=OWNER, gridftp=lambda: "ftp://x")
    body = {**SUBMISSION, "DATA": [ITEM]}
    task = Task(body=body, owner=OWNER, doc=new_task_doc(body, OWNER, state))
    state.tasks[task.id] = task
    tokens = {who: state.new_token(who, TRANSFER_SCOPE) for who in (OWNER, OTHER)}
    with serve(state) as service:
        yield state, service.url, tokens


def differences(at: str, wanted: Any, found: Any) -> list[str]:
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return [f"{at}: no object"]
        missing = [f"{at}.{key}: missing" for key in wanted if key not in found]
        both = [key for key in wanted if key in found and wanted[key] is not None and found[key] is not None]
        return missing + [line for key in both for line in differences(f"{at}.{key}", wanted[key], found[key])]
    if isinstance(wanted, list):
        pair = wanted[:1], found[:1] if isinstance(found, list) else None
        return (
            [f"{at}: no list"]
            if pair[1] is None
            else [line for left, right in zip(*pair, strict=False) for line in differences(f"{at}[0]", left, right)]
        )
    return [] if type(wanted) is type(found) else [f"{at}: {type(found).__name__}, not {type(wanted).__name__}"]


CASES: list[tuple[str, str, str, str, dict[str, Any] | None, str]] = [
    ("transfer.get_submission_id", "default", "GET", "/v0.10/submission_id", None, OWNER),
    ("transfer.submit_transfer", "default", "POST", "/v0.10/transfer", {**SUBMISSION, "DATA": [ITEM]}, OWNER),
    ("transfer.submit_transfer", "failure", "POST", "/v0.10/transfer", {**SUBMISSION, "DATA": []}, OWNER),
    (
        "transfer.submit_delete",
        "default",
        "POST",
        "/v0.10/delete",
        {
            "endpoint": A,
            "recursive": True,
            "DATA": [{"DATA_TYPE": "delete_item", "path": "/gone"}],
            "ignore_missing": True,
        },
        OWNER,
    ),
    ("transfer.task_list", "default", "GET", "/v0.10/task_list", None, OWNER),
    ("transfer.cancel_task", "default", "POST", "/v0.10/task/TASK/cancel", None, OWNER),
    ("transfer.operation_stat", "default", "GET", f"{OPERATION}/stat?path=/f", None, OWNER),
    ("transfer.operation_stat", "not_found", "GET", f"{OPERATION}/stat?path=/none", None, OWNER),
    ("transfer.operation_stat", "permission_denied", "GET", f"{OPERATION}/stat?path=/f", None, OTHER),
    ("transfer.operation_mkdir", "default", "POST", f"{OPERATION}/mkdir", {"path": "/made"}, OWNER),
    (
        "transfer.operation_rename",
        "default",
        "POST",
        f"{OPERATION}/rename",
        {"old_path": "/f", "new_path": "/h"},
        OWNER,
    ),
    ("transfer.get_endpoint", "default", "GET", f"/v0.10/endpoint/{A}", None, OWNER),
]


@pytest.mark.parametrize(("name", "case", "method", "path", "body", "who"), CASES, ids=lambda part: str(part)[:24])
def test_an_answer_has_the_shape_of_the_recorded_one(  # noqa: PLR0917  # a row of the table
    asked: tuple[State, str, dict[str, str]],
    name: str,
    case: str,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    who: str,
) -> None:
    from globus_sdk.testing import get_response_set

    state, url, tokens = asked
    recorded = get_response_set(name).lookup(case)
    task = next(iter(state.tasks))
    if body is not None and "DATA" in body:
        body = {**body, "submission_id": str(uuid.uuid4())}

    found = httpx2.request(
        method, url + path.replace("TASK", task), json=body, headers={"Authorization": f"Bearer {tokens[who]}"}
    )

    same_route = re.sub("/[0-9a-f]{8}-[0-9a-f-]{27}", "/*", recorded.path)
    assert re.sub("/[0-9a-f]{8}-[0-9a-f-]{27}", "/*", path.partition("?")[0].replace("TASK", task)) == same_route
    assert found.status_code // 100 == recorded.status // 100
    assert differences("$", recorded.json, found.json()) == []
    assert found.json().get("code") == recorded.json.get("code")
