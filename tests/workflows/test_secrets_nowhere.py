"""A marker password, in every kind of address and every token, is found in no file of a home and in no output.

Servers on loopback repeat what they were sent: in the status line, in headers, in bodies and in redirects.
"""

import base64
import json
import os
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec
import pytest

from ptmtorrent.demo.contents import InMemory
from ptmtorrent.demo.hub.exchange import Response
from ptmtorrent.demo.package import text_file
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import decode_manifest
from ptmtorrent.scrub import Login
from ptmtorrent.store.store import Store
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from tests.channels import RELEASE, Made, check_laid_out, make_channel
from tests.program import environment
from tests.simulators.git_server import serve_git
from tests.simulators.huggingface import OddHub
from tests.simulators.nginx import free_port
from tests.simulators.reflecting import closed, redirecting, reflecting
from tests.warm import run_program
from tests.workflows.cloning import lines_of, package

WORD = "MaRk/er Word+7f3a"
QUOTED = quote(WORD, safe="")
MARK = "MaRkToken.9e2b"
LOGIN = Login("me", WORD)
FORMS = [
    *(WORD, QUOTED, QUOTED.lower(), WORD.replace(" ", "+"), WORD.replace(" ", "%20"), WORD.lower()),
    *(
        base64.b64encode(text.encode()).decode().rstrip("=")
        for text in (WORD, f"me:{WORD}", f"token:{WORD}", f":{WORD}")
    ),
    *(json.dumps(WORD)[1:-1], MARK, Login("token", MARK).basic.removeprefix("Basic ").rstrip("=")),
]


def assert_absent(data: bytes, where: object) -> None:
    low = data.lower()
    found = [form for form in FORMS if form.lower().encode() in low]
    assert found == [], f"{where}: {data[:2000]!r}"


def search(folder: Path) -> None:
    """Search every file below `folder`, and what is compressed in it."""
    for path in folder.rglob("*"):
        assert_absent(os.fsencode(path.name), path)
        if path.is_file():
            assert_absent(path.read_bytes(), path)
            if path.name == "journal.sqlite":
                search_plans(path)
            if path.parent.name == "listings":
                assert_absent(json.dumps(lines_of(path)).encode(), path)
    if (folder / "store/version.json").exists():
        search_store(folder / "store")


def search_plans(path: Path) -> None:
    with closing(sqlite3.connect(path)) as journal:
        for (plan,) in journal.execute("SELECT plan FROM plan"):
            assert_absent(zlib.decompress(plan), path)


def search_store(folder: Path) -> None:
    with Store.open(folder) as store:
        for capture in store.captures():
            assert_absent(msgspec.json.encode(capture), "a capture")
            data = store.read(ObjectId(capture.snapshot))
            assert_absent(data, "a manifest")
            manifest = decode_manifest(data, capture.snapshot)
            for answer in manifest.raw:
                for row in manifest.objects_of(answer.recipe):
                    assert_absent(store.read(manifest.objects[row][0]), answer.name)


def run(home: Path, form: str, arguments: Sequence[str], env: dict[str, str]) -> int:
    """Run a verb in `home`, search what it printed and what it left, and return the exit code."""
    folder = home.parent / "here"
    folder.mkdir(exist_ok=True)
    done = run_program(["--home", str(home), "--format", form, "-v", *arguments], env=env, cwd=folder, timeout=120)
    assert_absent(done.stdout, arguments)
    assert_absent(done.stderr, arguments)
    assert b"Traceback (most" not in done.stderr or b"unexpected" not in done.stdout + done.stderr, done.stderr
    search(home)
    search(folder)
    return done.returncode


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"), {"hf:org/name": {"a.json": b"{}" * 50, "w.bin": b"w" * 5000}})


PLACES = ["http://me:{word}@{server}/x", "http://{word}@{server}/x", "http://:{word}@{server}"]
REFUSED = [
    *("s3://KEY:{word}@bucket/x", "me:{word}@host:/srv", "http:me:{word}@host", "http://me:{word}@host:port/x"),
    *("http://me:{raw}@host/x", "http://host/x?token={word}", "ftp://{word}@host", "file://me:{word}@host/x"),
    *("globus:6f4f1c4e-5f2f-4c3a-9d5e-0a1b2c3d4e5f@me:{word}@host/x", "globus:me:{word}@host", "x::me:{word}@h"),
]
ON_CHANNELS = {
    "fetch": ["fetch", "hf:org/name", "--channel"],
    "list": ["list", "--channel"],
    "trust": ["trust", "add", "--fingerprint", f"b3:{'0' * 64}"],
    "repair": ["store", "repair", "--from"],
    "seed": ["seed", "--channel"],
    "publish": ["publish", str(RELEASE), "--to"],
}
ON_HUBS = {
    "git": ["clone", "git", "--id"],
    "git endpoint": ["clone", "git", "--id", "team/m", "--endpoint"],
    "huggingface": ["clone", "huggingface", "--id", "org/name", "--endpoint"],
    "listing": ["clone", "huggingface", "--endpoint"],
    "kaggle": ["clone", "kaggle", "--id", "a/b/c/d", "--endpoint"],
    "modelzoo": ["clone", "modelzoo", "--endpoint"],
    "onnx": ["clone", "onnx", "--endpoint"],
    "pytorch": ["clone", "pytorch", "--endpoint"],
    "dir": ["clone", "dir", "--endpoint"],
}
TOKENS = {"HF_TOKEN": MARK, "PTMTORRENT_GIT_TOKEN": MARK, "KAGGLE_API_TOKEN": MARK}


@pytest.mark.parametrize("verb", [*ON_CHANNELS, *ON_HUBS])
def test_what_a_server_repeats_is_found_nowhere(tmp_path: Path, verb: str) -> None:
    order, sent = (ON_CHANNELS | ON_HUBS)[verb], 0
    for number, status in enumerate((403, 302, 206) if verb in ON_CHANNELS else (200, 302, 401)):
        place, form = PLACES[number % len(PLACES)], ("json", "human", "quiet")[number % 3]
        with reflecting(status, WORD) as (server, asked):
            run(tmp_path / "home", form, [*order, place.format(word=QUOTED, server=server)], environment(**TOKENS))
            sent += len([each for each in asked if each])
    assert sent or verb in {"seed", "publish", "dir", "repair", "list", "fetch"}, "no login was sent"


@pytest.mark.parametrize("verb", [*ON_CHANNELS, *ON_HUBS])
def test_what_is_no_address_is_not_repeated(tmp_path: Path, verb: str) -> None:
    order = (ON_CHANNELS | ON_HUBS)[verb]
    for number, place in enumerate(REFUSED if verb in {"list", "git"} else REFUSED[:2]):
        form = ("json", "human", "quiet")[number % 3]
        address = place.format(word=QUOTED, raw=WORD.replace(" ", ""))
        assert run(tmp_path / "home", form, [*order, address], environment()) != 0, address


@pytest.mark.parametrize("form", ["json", "human", "quiet"])
def test_settings_are_shown_without_logins(tmp_path: Path, form: str) -> None:
    channel = f"https://me:{QUOTED}@example.org/x"
    more = {"PTMTORRENT_CHANNEL": channel, "https_proxy": f"http://me:{QUOTED}@127.0.0.1:{free_port()}"}
    assert run(tmp_path / "home", form, ["config", "show"], environment(**TOKENS, **more)) == 0
    assert run(tmp_path / "home", form, ["list", "--channel", "https://example.org/y"], environment(**more)) != 0
    assert run(tmp_path / "home", form, ["clone", "git", "--id", "https://h.invalid/y"], environment(**more)) != 0


def test_a_channel_is_read_with_the_login_as_it_was_typed_and_keeps_nothing_of_it(made: Made, tmp_path: Path) -> None:
    home, plain = tmp_path / "home", environment()
    with closed(made.folder, LOGIN.basic) as server:
        place = f"http://me:{QUOTED}@{server}"
        mark = fingerprint(read_first_root(made.folder))
        assert run(home, "json", ["trust", "add", place, "--fingerprint", mark], plain) == 0
        assert run(home, "human", ["trust", "show"], plain) == 0
        to = str(tmp_path / "to")
        assert run(home, "json", ["fetch", "hf:org/name", "--channel", f"{place}/", "--to", to], plain) == 0
        assert run(home, "json", ["list", "--channel", f"http://{server}"], plain) == 40  # without the login
    check_laid_out(tmp_path / "to", made.packages)
    search(tmp_path)


def test_a_login_is_not_sent_to_where_a_channel_redirects(tmp_path: Path) -> None:
    with reflecting(404, WORD) as (other, asked), redirecting(f"http://localhost:{other.rpartition(':')[2]}") as server:
        order = ["trust", "add", f"http://me:{QUOTED}@{server}", "--fingerprint", f"b3:{'0' * 64}"]
        assert run(tmp_path / "home", "json", order, environment()) == 12
    assert asked
    assert not any(asked)


@pytest.mark.parametrize("way", ["id", "endpoint", "token"])
def test_a_git_remote_is_cloned_with_a_login_that_is_kept_nowhere(tmp_path: Path, way: str) -> None:
    (tmp_path / "served").mkdir()
    with serve_git(tmp_path / "served") as server:
        server.login = (Login("token", MARK) if way == "token" else LOGIN).basic
        pointer = server.keep_object(b"weights" * 1000)
        server.commit("team/m", {"a.bin": pointer, "b.txt": b"x"})
        host = server.url.removeprefix("http://")
        order = {
            "id": ["--id", f"http://me:{QUOTED}@{host}/team/m"],
            "endpoint": ["--endpoint", f"http://me:{QUOTED}@{host}", "--id", "team/m"],
            "token": ["--endpoint", server.url, "--id", "team/m"],
        }[way]
        env = environment(**({"PTMTORRENT_GIT_TOKEN": MARK} if way == "token" else {}))
        assert run(tmp_path / "home", "json", ["clone", "git", *order], env) == 0
        stored = [asked for asked in server.asked if "try=" in asked.path]
        assert stored
        assert not any("authorization" in asked.headers for asked in stored)


def test_what_a_hub_repeats_in_its_records_is_not_kept(tmp_path: Path) -> None:
    def reflect(reply: Response) -> Response:
        told = json.loads(b"".join(reply.content.chunks(0, reply.content.size)))
        rows = told if isinstance(told, list) else [told]
        for row in rows:
            row["seen"] = f"Bearer {MARK}"
        return msgspec.structs.replace(reply, content=InMemory(json.dumps(told).encode()))

    with OddHub([package("org/name", text_file("README.md", "x"))]) as hub:
        hub.order(reflect, path="/api/models", times=None)
        order = ["clone", "huggingface", "--endpoint", hub.endpoint, "--id", "org/name"]
        assert run(tmp_path / "home", "json", order, environment(HF_TOKEN=MARK)) == 0
        with Store.open(tmp_path / "home/store") as store:
            assert len(store.captures()) == 1


def test_the_marker_is_found_where_it_is() -> None:
    for text in (WORD, unquote(QUOTED), f"x{LOGIN.basic}"):
        with pytest.raises(AssertionError):
            assert_absent(text.encode(), "here")
