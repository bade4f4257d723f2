"""The replies of the sample hub: ranges, refusals, quotas and injected faults."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from ptmtorrent.demo.hub.faults import Faults, Quota
from ptmtorrent.demo.package import Package, data_file, text_file
from ptmtorrent.demo.sample_hub import TOKEN, SampleHub

WEIGHTS = bytes(range(256)) * 1000
NAME = "lab/model"
PACKAGE = Package(
    name=NAME,
    files=(data_file("w.safetensors", WEIGHTS), text_file("a b&c?.json", '{"a":1}'), text_file("empty", "")),
    downloads=3,
)
SECRET = Package(name="lab/secret", files=(text_file("x", "y"),), access="private")


@pytest.fixture(scope="module")
def hub() -> Iterator[SampleHub]:
    with SampleHub([PACKAGE, SECRET]) as hub:
        yield hub
    assert hub.log.failures == []


def ask(
    endpoint: str, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(urlsplit(endpoint).netloc, timeout=30)
    try:
        connection.request(method, quote(path, safe="/%?=&") if "%" not in path else path, body, headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def lfs_url(hub: SampleHub) -> tuple[str, str]:
    response, _ = ask(hub.endpoint, f"/{NAME}/resolve/main/w.safetensors")
    split = urlsplit(response.headers["Location"])
    return f"http://{split.netloc}", split.path


def test_large_files_are_redirected_to_another_origin(hub: SampleHub) -> None:
    response, body = ask(hub.endpoint, f"/{NAME}/resolve/main/w.safetensors", "HEAD")
    assert (response.status, body) == (302, b"")
    assert response.headers["X-Linked-Size"] == str(len(WEIGHTS))
    assert urlsplit(response.headers["Location"]).netloc != urlsplit(hub.endpoint).netloc
    assert ask(*lfs_url(hub))[1] == WEIGHTS


@pytest.mark.parametrize(
    ("asked", "status", "content_range", "expected"),
    [
        ("bytes=10-19", 206, "bytes 10-19/256000", slice(10, 20)),
        ("bytes=255990-", 206, "bytes 255990-255999/256000", slice(255990, 256000)),
        ("bytes=255990-999999", 206, "bytes 255990-255999/256000", slice(255990, 256000)),
        ("bytes=256000-", 416, "bytes */256000", slice(0, 0)),
        ("lines=1-2", 200, None, slice(0, 256000)),
    ],
)
def test_ranges(hub: SampleHub, asked: str, status: int, content_range: str | None, expected: slice) -> None:
    response, body = ask(*lfs_url(hub), Range=asked)
    assert (response.status, response.headers["Content-Range"], body) == (status, content_range, WEIGHTS[expected])


def test_odd_names_are_decoded_once(hub: SampleHub) -> None:
    response, body = ask(hub.endpoint, f"/{NAME}/resolve/main/a%20b%26c%3F.json")
    assert (response.status, body) == (200, b'{"a":1}')
    assert len(response.headers["ETag"].strip('"')) == 40


def test_raw_serves_the_git_blob(hub: SampleHub) -> None:
    _, body = ask(hub.endpoint, f"/{NAME}/raw/main/w.safetensors")
    assert body.startswith(b"version https://git-lfs.github.com/spec/v1\noid sha256:")
    assert body.endswith(b"\nsize 256000\n")


def test_private_package_is_neither_listed_nor_served(hub: SampleHub) -> None:
    assert [each["id"] for each in json.loads(ask(hub.endpoint, "/api/models")[1])] == [NAME]
    assert ask(hub.endpoint, "/api/models/lab/secret")[0].status == 401
    assert ask(hub.endpoint, "/api/models/lab/secret", Authorization=f"Bearer {TOKEN}")[0].status == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/models/no/such", "RepoNotFound"),
        (f"/api/models/{NAME}/revision/no", "RevisionNotFound"),
        (f"/{NAME}/resolve/main/no", "EntryNotFound"),
        (f"/api/models/{NAME}/tree/main/no", "EntryNotFound"),
    ],
)
def test_missing_items_have_error_codes(hub: SampleHub, path: str, code: str) -> None:
    response, _ = ask(hub.endpoint, path)
    assert (response.status, response.headers["X-Error-Code"]) == (404, code)


@pytest.mark.parametrize("path", ["/", "/api", "/api/no", f"/api/models/{NAME}/no", "/a/b/c"])
def test_unknown_pages_are_404(hub: SampleHub, path: str) -> None:
    assert ask(hub.endpoint, path)[0].status == 404


def test_bodies_are_read_before_a_refusal_so_the_connection_stays_usable() -> None:
    with SampleHub([PACKAGE], quota=Quota(api=1, window_seconds=60), monotonic=lambda: 30.0) as hub:
        connection = HTTPConnection(urlsplit(hub.endpoint).netloc, timeout=30)
        statuses = []
        for body in (b"paths=empty", b"paths=empty" * 1000, iter([b"chunked ", b"body"])):
            connection.request("POST", f"/api/models/{NAME}/paths-info/main", body, encode_chunked=True)
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.request("GET", f"/{NAME}/resolve/main/empty")
        response = connection.getresponse()
        statuses.append(response.status)
        response.read()
        connection.close()
        assert statuses == [200, 429, 429, 200]


def test_quota_starts_again_with_each_window() -> None:
    now = [0.0]
    with SampleHub([PACKAGE], quota=Quota(resolvers=2, window_seconds=10), monotonic=lambda: now[0]) as hub:
        path = f"/{NAME}/resolve/main/empty"
        seen = [ask(hub.endpoint, path)[0] for _ in range(3)]
        now[0] = 10.0
        seen.append(ask(hub.endpoint, path)[0])
    assert [response.status for response in seen] == [200, 200, 429, 200]
    assert seen[0].headers["RateLimit"] == '"resolvers";r=1;t=11'
    assert seen[0].headers["RateLimit-Policy"] == '"fixed window";"resolvers";q=2;w=10'


def test_connection_is_dropped_once_per_file() -> None:
    with SampleHub([PACKAGE], faults=Faults(drop_after=1000)) as hub:
        base, path = lfs_url(hub)
        with pytest.raises(IncompleteRead) as caught:
            ask(base, path)
        assert caught.value.partial == WEIGHTS[:1000]
        assert ask(base, path, Range="bytes=1000-")[1] == WEIGHTS[1000:]
        assert hub.log.sent("/lfs/") == len(WEIGHTS)


def test_injected_faults() -> None:
    with SampleHub([PACKAGE], faults=Faults(ignore_range=True, flip=frozenset({"w.safetensors"}))) as hub:
        response, body = ask(*lfs_url(hub), Range="bytes=5-")
        assert response.status == 200
        assert [place for place in range(len(WEIGHTS)) if body[place] != WEIGHTS[place]] == [len(WEIGHTS) // 2]
    with SampleHub([PACKAGE], faults=Faults(serve_pointer=frozenset({"w.safetensors"}), unavailable=1)) as hub:
        path = f"/{NAME}/resolve/main/w.safetensors"
        assert ask(hub.endpoint, path)[0].status == 503
        assert ask(hub.endpoint, path)[1].startswith(b"version https://git-lfs")


def test_log_tells_origin_range_and_bytes(hub: SampleHub) -> None:
    hub.log.clear()
    ask(*lfs_url(hub), Range="bytes=0-99")
    first, second = hub.log.exchanges()
    assert (first.origin, first.path, first.status) == ("hub", f"/{NAME}/resolve/main/w.safetensors", 302)
    assert (second.origin, second.range, second.status, second.sent) == ("lfs", "bytes=0-99", 206, 100)


def test_a_new_version_of_a_package_has_another_commit() -> None:
    with SampleHub([PACKAGE]) as hub:
        before = json.loads(ask(hub.endpoint, f"/api/models/{NAME}")[1])["sha"]
        hub.add(Package(name=NAME, files=(text_file("empty", "no more"),)))
        after = json.loads(ask(hub.endpoint, f"/api/models/{NAME}")[1])["sha"]
    assert before != after


def test_stopping_closes_idle_connections_and_joins_every_thread() -> None:
    before = threading.active_count()
    with SampleHub([PACKAGE]) as hub:
        connection = HTTPConnection(urlsplit(hub.endpoint).netloc, timeout=30)
        connection.request("GET", f"/{NAME}/resolve/main/empty")
        connection.getresponse().read()
    assert threading.active_count() == before
    connection.close()


def test_hub_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    port_file = tmp_path / "port"
    command = [sys.executable, "-m", "ptmtorrent.demo.sample_hub", "--port-file", str(port_file)]
    command += ["--folder", f"any/folder={tmp_path / 'model'}", "--bulk", "2", "100000"]
    with subprocess.Popen(command, env=dict(os.environ)) as process:
        try:
            endpoint = wait_for(port_file, process)
            listed = json.loads(ask(endpoint, "/api/models")[1])
        finally:
            process.terminate()
    assert [each["id"] for each in listed] == ["any/folder", "bulk/000", "bulk/001"]
    assert process.returncode == 0


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, "the hub ended before it answered"
        assert time.monotonic() < deadline, "the hub did not answer in time"
        time.sleep(0.02)
    return path.read_text()
