"""A release through Globus: real GridFTP servers and a real HTTPS server, behind a simulated Transfer service."""

import json
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ptmtorrent.channel.folder import read_volume_packs
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import ignore
from ptmtorrent.paths import Home
from ptmtorrent.state.publications import places_of
from ptmtorrent.store.store import Store
from ptmtorrent.trust.fingerprints import fingerprint
from ptmtorrent.trust.keys import load_keys
from ptmtorrent.workflows.release.release import release
from tests.channels import RELEASE, Made, capture, check_laid_out, clock, make_channel
from tests.program import ptmtorrent
from tests.simulators.globus.state import GUEST, MAPPED, Fault, TaskFault
from tests.simulators.globus.world import (
    MAINTAINER,
    MAINTAINERS,
    PUBLIC,
    USER,
    USERS,
    World,
    globus_world,
    https_scope,
    require_programs,
)

pytestmark = pytest.mark.interop
EVERYBODY = {"id": "x", "path": "/", "permissions": "r", "principal": "", "principal_type": "anonymous"}
MEMBERS = {**EVERYBODY, "principal": USER, "principal_type": "identity"}
OPENLY, BY_NAME = [EVERYBODY], [MEMBERS]


@pytest.fixture(scope="module")
def small_globus() -> Iterator[tuple[World, Made]]:
    require_programs()
    with globus_world() as world:
        made = make_channel(world.maintainer)
        made.home.root.chmod(0o755)  # the account of the collection reads it
        yield world, made


@pytest.fixture
def world(small_globus: tuple[World, Made]) -> Iterator[World]:
    world, _ = small_globus
    state = world.state
    public = state.collections[PUBLIC]
    public.rules, public.entity_type, public.rename_replaces = list(OPENLY), GUEST, True
    for kept in (state.tasks, state.by_submission, state.faults, state.task_faults, state.after_copy, state.asked):
        kept.clear()
    state.during_copy = lambda _: None
    state.tokens_seen.clear()
    yield world
    for task in state.tasks.values():
        if task.doc["status"] != "SUCCEEDED":
            task.end("FAILED", "CANCELED")
    for folder in (world.public / "ptm", world.user, world.maintainer / "maintainer" / "globus"):
        shutil.rmtree(folder, ignore_errors=True)
    world.user.mkdir()
    world.user.chmod(0o777)


@pytest.fixture
def made(small_globus: tuple[World, Made]) -> Made:
    return small_globus[1]


def publish(
    world: World, made: Made, *more: str, name: ReleaseName = RELEASE, code: int = 0, **variables: str
) -> list[dict[str, Any]]:
    env = world.environment(MAINTAINER, MAINTAINERS, **variables)
    return ptmtorrent(made.home.root, "publish", name, "--to", world.place, *more, code=code, env=env)


def put(world: World, made: Made) -> None:
    """Publish without Globus."""
    shutil.copytree(made.folder, world.channel)
    for folder in (world.channel, *(path for path in world.channel.rglob("*") if path.is_dir())):
        folder.chmod(0o777)


def user_home(world: World, made: Made, location: str) -> Home:
    home = Home(world.user / "home")
    made.trusted_by(home, location)
    return home


def fetch(
    world: World,
    made: Made,
    *,
    client: str | None = USER,
    location: str | None = None,
    transport: str = "globus",
    code: int = 0,
    **variables: str,
) -> list[dict[str, Any]]:
    place = location or world.place_with_host
    home = user_home(world, made, place)
    env = world.environment(client, USERS if client else None, **variables)
    options = ("--transport", transport, "--channel", place, "--to", world.user / "out")
    return ptmtorrent(home.root, "fetch", *made.packages, *options, code=code, env=env)


def laid_out_right(world: World, made: Made) -> None:
    check_laid_out(world.user / "out", made.packages)


def error_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    return next(event for event in events if event["type"] == "error")


def jobs(home: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((home / "globus" / "jobs").glob("*.json"))]


def states(home: Path) -> list[str]:
    return [job["state"] for job in jobs(home)]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".ptm-staging" not in path.parts
    }


class TestMoving:
    def test_a_release_is_published_and_fetched_by_gridftp(self, world: World, made: Made) -> None:
        world.state.collections[PUBLIC].rules.clear()

        publish(world, made, "--anyone")
        fetch(world, made)

        assert tree(world.channel) == tree(made.folder)
        laid_out_right(world, made)
        assert [task.doc["status"] for task in world.state.tasks.values()] == ["SUCCEEDED"] * 3
        assert states(made.home.root) == ["installed", "installed"], "the timestamp goes by a job of its own"
        assert states(world.user / "home") == ["installed"]
        assert not (world.user / ".ptm-incoming").exists()
        assert [rule["path"] for rule in world.state.collections[PUBLIC].rules] == ["/ptm/channel/"]

    def test_publishing_again_moves_nothing_and_adds_no_rule(self, world: World, made: Made) -> None:
        world.state.collections[PUBLIC].rules.clear()
        publish(world, made, "--anyone")

        events = publish(world, made, "--anyone")

        assert [event["status"] for event in events if event["type"] == "result"] == ["notneeded"]
        assert len(world.state.tasks) == 2
        assert len(world.state.collections[PUBLIC].rules) == 1

    def test_the_timestamp_is_sent_after_a_reader_accepted_the_rest(self, world: World, made: Made) -> None:
        publish(world, made)

        sent = [[item["source_path"] for item in task.body["DATA"]] for task in world.state.tasks.values()]
        assert [len(items) > 1 for items in sent] == [True, False]
        assert sent[1] == ["/maintainer/channel/metadata/timestamp.json"]

    def test_a_dry_run_asks_and_changes_nothing(self, world: World, made: Made) -> None:
        events = publish(world, made, "--dry-run")

        assert next(event for event in events if event["type"] == "plan")["bytes_to_move"] > 0
        assert not world.channel.exists()
        assert {request.split()[0] for request, _ in world.state.asked if "v0.10" in request} == {"GET"}

    def test_a_collection_that_does_not_rename_over_files_gets_the_new_pointer(self, world: World, made: Made) -> None:
        put(world, made)
        pointer = world.channel / "metadata/timestamp.json"
        old = json.loads(pointer.read_bytes())
        old["signed"]["version"] -= 1
        pointer.write_text(json.dumps(old))
        world.state.collections[PUBLIC].rename_replaces = False

        publish(world, made)

        assert pointer.read_bytes() == (made.folder / "metadata/timestamp.json").read_bytes()

    @pytest.mark.parametrize("size", ["small", "large"])
    def test_a_file_that_is_there_with_the_same_size_and_other_bytes_is_sent_again(
        self, world: World, made: Made, size: str
    ) -> None:
        put(world, made)
        small = world.channel / f"releases/{RELEASE}/release.json"
        spoiled = small if size == "small" else next(world.channel.rglob("*.pack"))
        spoiled.write_bytes(bytes(spoiled.stat().st_size))

        publish(world, made)

        assert [item["source_path"] for item in world.state.only_task().body["DATA"]] == [
            f"/maintainer/channel/{spoiled.relative_to(world.channel)}"
        ]
        assert tree(world.channel) == tree(made.folder)

    def test_nothing_of_ours_stays_in_the_staging_folder(self, world: World, made: Made) -> None:
        of_another = world.channel / ".ptm-staging/0123456789abcdef/packs"
        of_another.mkdir(parents=True)
        for folder in (world.public / "ptm", world.channel, of_another.parent.parent):
            folder.chmod(0o777)

        publish(world, made)

        assert list(of_another.parent.parent.iterdir()) == [of_another.parent]

    def test_a_release_is_published_though_tidying_is_refused(self, world: World, made: Made) -> None:
        world.state.faults.append(Fault(on="POST /v0.10/delete", status=403, code="PermissionDenied"))

        events = publish(world, made)

        assert tree(world.channel) == tree(made.folder)
        assert any("not tidied up" in str(event.get("message")) for event in events)

    def test_another_channel_is_not_published_over(self, world: World, made: Made) -> None:
        put(world, made)
        root = world.channel / "metadata/1.root.json"
        root.write_bytes(root.read_bytes() + b" ")

        error = error_of(publish(world, made, code=10))

        assert "another channel" in error["message"]
        assert not world.state.tasks


SECOND = ReleaseName("2026.12")


@pytest.fixture
def two(world: World) -> Iterator[Made]:
    """A home with two releases, both published; the second has a package more."""
    root = world.maintainer / "two"
    root.mkdir()
    made = make_channel(root, {"hf:org/first": {"weights.bin": b"first" * 9000}})
    made.home.root.chmod(0o755)
    made.home.root.parent.chmod(0o755)
    publish(world, made)
    with Store.open(made.home.store, write=True) as store:
        capture(store, root, "hf:org/second", {"weights.bin": b"second" * 9000})
    release(SECOND, made.home, load_keys(made.home.keys, lambda: None), clock=clock, emit=ignore)
    publish(world, made, name=SECOND)
    yield made
    shutil.rmtree(root)


class TestRetiring:
    def retire(self, world: World, made: Made, *more: str, code: int = 0) -> list[dict[str, Any]]:
        env = world.environment(MAINTAINER, MAINTAINERS)
        return ptmtorrent(made.home.root, "publish", "--retire", SECOND, "--to", world.place, *more, code=code, env=env)

    def test_the_list_goes_first_and_the_files_that_no_release_needs_after_it(self, world: World, two: Made) -> None:
        held = tree(world.channel)
        world.state.asked.clear()

        self.retire(world, two)

        now = tree(world.channel)
        gone = {path for path in held.keys() - now.keys() if not path.startswith(f"releases/{SECOND}/")}
        assert not [path for path in now if path.startswith(f"releases/{SECOND}/")]
        assert {path.split("/")[0] for path in gone} == {"packs", "torrents"}
        asked = [request for request, _ in world.state.asked]
        renames = [number for number, request in enumerate(asked) if request.endswith("/rename")]
        assert asked.index("POST /v0.10/delete") > max(renames), "the pointer had moved before anything was deleted"
        fetch(world, two)
        laid_out_right(world, two)
        assert places_of(two.home.publications, SECOND) == []

    def test_a_dry_run_changes_nothing(self, world: World, two: Made) -> None:
        held = tree(world.channel)
        self.retire(world, two, "--dry-run")
        assert tree(world.channel) == held

    def test_a_deletion_that_failed_is_asked_for_again(self, world: World, two: Made) -> None:
        world.state.faults.append(Fault(on="POST /v0.10/delete", status=403, code="PermissionDenied"))
        self.retire(world, two, code=11)
        fetch(world, two)

        self.retire(world, two)

        assert not (world.channel / f"releases/{SECOND}").exists()
        assert {path.stem for path in world.channel.rglob("*.pack")} == packs_of_first(two)
        assert "lists no release" in error_of(self.retire(world, two, code=12))["message"]

    def test_what_the_place_lost_of_another_release_is_put_there_again(self, world: World, two: Made) -> None:
        lost = world.channel / f"releases/{RELEASE}/index/content/000.json"
        data = lost.read_bytes()
        lost.unlink()

        self.retire(world, two)

        assert lost.read_bytes() == data
        fetch(world, two)


def packs_of_first(made: Made) -> set[str]:
    return {pack for volume in made.release.volumes for pack, _ in read_volume_packs(made.folder, made.release, volume)}


class TestHttps:
    def test_anybody_fetches_without_globus_software_and_login(self, world: World, made: Made) -> None:
        put(world, made)

        fetch(world, made, client=None, transport="auto")

        laid_out_right(world, made)
        assert not [request for request, _ in world.state.asked if "_https" not in request]

    def test_a_token_reads_what_is_not_for_everybody(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.collections[PUBLIC].rules = list(BY_NAME)

        fetch(world, made, transport="http")

        laid_out_right(world, made)

    def test_a_store_is_repaired_from_what_is_not_for_everybody(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.collections[PUBLIC].rules = list(BY_NAME)
        home, env = user_home(world, made, world.place_with_host), world.environment(USER)
        ptmtorrent(home.root, "store", "init", env=env)

        ptmtorrent(home.root, "store", "repair", "--from", world.place_with_host, env=env)

        assert world.state.tokens_seen

    def test_without_a_login_the_error_names_it(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.collections[PUBLIC].rules = list(BY_NAME)

        error = error_of(fetch(world, made, client=None, transport="http", code=11))

        assert f"ptmtorrent auth login globus --collection {PUBLIC}" in error["hint"]

    def test_a_location_that_names_a_foreign_server_gets_no_token(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.collections[PUBLIC].rules = list(BY_NAME)
        foreign = world.place.replace(PUBLIC, f"{PUBLIC}@{world.host_with_login_page}")

        error = error_of(fetch(world, made, location=foreign, transport="http", code=60))

        assert "no token was sent" in error["message"]
        assert f"globus:{PUBLIC}/path" in error["hint"]
        assert world.state.tokens_seen == set()

    def test_a_login_is_not_used_where_anybody_may_read(self, world: World, made: Made) -> None:
        put(world, made)

        fetch(world, made, transport="http")

        assert world.state.tokens_seen == set()

    def test_the_login_page_of_globus_auth_is_exit_11(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.collections[PUBLIC].rules = list(BY_NAME)
        location = world.place.replace(PUBLIC, f"{PUBLIC}@{world.host_with_login_page}")

        error = error_of(fetch(world, made, client=None, location=location, transport="http", code=11))

        assert f"ptmtorrent auth login globus --collection {PUBLIC}" in error["hint"]

    def test_who_is_not_allowed_is_told_so(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.collections[PUBLIC].rules.clear()

        error = error_of(fetch(world, made, transport="http", code=11))

        assert "403" in error["message"]
        assert "auth login globus" in error["hint"]

    def test_an_expired_token_is_renewed(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.collections[PUBLIC].rules = list(BY_NAME)
        home = user_home(world, made, world.place_with_host)
        world.log_person_in(home, USER, https_scope(PUBLIC))
        world.state.expire_all()

        env = {**world.environment(None), "PTMTORRENT_GLOBUS_CLIENT_ID": "cccccccc-cccc-4ccc-8ccc-cccccccccccc"}
        options = ("--channel", world.place_with_host, "--to", world.user / "out")
        ptmtorrent(home.root, "fetch", *made.packages, *options, env=env)

        laid_out_right(world, made)


class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault(on="POST /v0.10/transfer", status=503),
            Fault(on="POST /v0.10/transfer", status=429, retry_after=1, code="TooManyRequests"),
            Fault(on="POST /v0.10/transfer", lost=True),
        ],
        ids=["503", "429", "lost reply"],
    )
    def test_what_passes_is_waited_for_and_makes_one_task(self, world: World, made: Made, fault: Fault) -> None:
        put(world, made)
        world.state.faults.append(Fault(**vars(fault)))

        fetch(world, made)

        laid_out_right(world, made)
        assert len(world.state.tasks) == 1
        assert len([request for request, _ in world.state.asked if request.endswith("/transfer")]) == 2

    @pytest.mark.parametrize(
        "rubbish",
        [{}, {"task_id": None}, {"task_id": "../../v0.10/task"}, {"task_id": "$(reboot)"}, {"task_id": ["x"]}],
        ids=["none", "null", "path", "shell", "list"],
    )
    def test_a_rubbish_answer_is_no_task(self, world: World, made: Made, rubbish: dict[str, Any]) -> None:
        put(world, made)
        world.state.faults.append(Fault(on="POST /v0.10/transfer", status=200, extra=rubbish))

        error = error_of(fetch(world, made, code=40))

        assert "sent an unexpected reply" in error["message"]
        assert states(world.user / "home") == ["prepared"]

    def test_a_missing_consent_names_the_command_and_keeps_the_submission(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.collections[PUBLIC].entity_type = MAPPED
        error = error_of(fetch(world, made, code=11))
        [before] = jobs(world.user / "home")
        scope = error["hint"].split("--scope ")[1].strip("'")

        env = world.environment(USER, USERS)
        ptmtorrent(world.user / "home", "auth", "login", "globus", "--scope", scope, env=env)
        fetch(world, made)

        [after] = jobs(world.user / "home")
        assert (before["state"], after["state"]) == ("prepared", "installed")
        assert before["submission_id"] == after["submission_id"] == world.state.only_task().body["submission_id"]
        laid_out_right(world, made)

    def test_a_submission_that_is_not_permitted_is_kept(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.faults.append(Fault(on="POST /v0.10/transfer", status=403, code="PermissionDenied"))

        error = error_of(fetch(world, made, code=11))

        assert "PermissionDenied" in error["message"]
        assert states(world.user / "home") == ["prepared"]

    def test_an_inactive_task_is_no_success(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.task_faults.append(TaskFault("CREDENTIAL_EXPIRED", status="INACTIVE"))

        error = error_of(fetch(world, made, code=11))

        assert "waits for a login" in error["message"]
        assert states(world.user / "home") == ["paused"]

    def test_a_failed_task_is_made_good_over_https(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.task_faults.append(TaskFault("ENDPOINT_ERROR", status="FAILED"))

        fetch(world, made)

        laid_out_right(world, made)
        assert states(world.user / "home") == ["failed"]

    def test_a_task_that_only_meets_faults_is_cancelled_and_made_good_over_https(
        self, world: World, made: Made
    ) -> None:
        put(world, made)
        world.state.task_faults.append(TaskFault("PERMISSION_DENIED", times=1 << 30))

        fetch(world, made, PTMTORRENT_GLOBUS_PATIENCE="1")

        laid_out_right(world, made)
        [job] = jobs(world.user / "home")
        assert job["state"] == "cancelled"
        assert "permission denied" in job["reason"]
        assert world.state.only_task().doc["fatal_error"]["code"] == "CANCELED"

    def test_a_failed_task_publishes_nothing(self, world: World, made: Made) -> None:
        world.state.task_faults.append(TaskFault("ENDPOINT_ERROR", status="FAILED"))

        publish(world, made, code=40)

        assert tree(world.public) == {}
        publish(world, made)
        assert tree(world.channel) == tree(made.folder)

    def test_a_server_killed_in_the_middle_of_a_file_leaves_no_holes(self, world: World, made: Made) -> None:
        put(world, made)
        killed: list[Path] = []

        def kill_once(targets: list[Path]) -> None:
            if not killed and any(path.exists() for path in targets):
                killed.extend(targets)
                world.site.kill()
                world.site.start()

        world.state.during_copy = kill_once

        fetch(world, made)

        assert killed
        laid_out_right(world, made)

    def test_a_pack_that_landed_wrong_is_not_installed_but_fetched_alone(self, world: World, made: Made) -> None:
        put(world, made)

        def spoil(landed: list[Path]) -> None:
            with landed[0].open("r+b") as file:
                file.seek(1 << 10)
                file.write(bytes(1 << 10))

        world.state.after_copy.append(spoil)

        events = fetch(world, made)

        laid_out_right(world, made)
        moved = next(event for event in events if event["type"] == "summary")["sources"]
        assert set(moved) == {f"globus:{PUBLIC}", f"https://{world.host}/ptm/channel"}
        assert moved[f"https://{world.host}/ptm/channel"] == 4 << 20

    def test_a_pack_that_landed_wrong_is_not_published(self, world: World, made: Made) -> None:
        def spoil(landed: list[Path]) -> None:
            for path in landed:
                data = path.read_bytes()
                path.write_bytes(bytes(len(data)))

        world.state.after_copy.append(spoil)

        publish(world, made, code=50)

        assert tree(world.channel) == {}
        assert states(made.home.root) == ["failed"]


class TestStopping:
    @pytest.mark.parametrize("verb", ["fetch", "publish"])
    def test_ctrl_c_says_which_task_goes_on_and_how_to_end_it(self, world: World, made: Made, verb: str) -> None:
        world.state.task_faults.append(TaskFault("ENDPOINT_BUSY", times=1 << 30))
        words, home, env = ["publish", RELEASE, "--to", world.place], made.home, (MAINTAINER, MAINTAINERS)
        if verb == "fetch":
            put(world, made)
            home, env = user_home(world, made, world.place_with_host), (USER, USERS)
            words = ["fetch", *made.packages, "--transport", "globus", "--channel", world.place_with_host]
            words += ["--to", str(world.user / "out")]
        command = [sys.executable, "-m", "ptmtorrent", "--home", str(home.root), "--format", "json", *words]
        process = subprocess.Popen(command, env=world.environment(*env), stdout=subprocess.PIPE, text=True)
        world.state.wait_until(lambda: states(home.root) == ["active"])

        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)

        task = world.state.only_task()
        assert process.returncode == 130, said
        assert f"globus task cancel {task.id}" in said
        assert (task.doc["status"], states(home.root)) == ("ACTIVE", ["active"])


class TestLogin:
    def test_tokens_are_readable_by_their_owner_alone_and_shown(self, world: World, made: Made) -> None:
        home = made.home.root
        env = world.environment(MAINTAINER, MAINTAINERS)

        ptmtorrent(home, "auth", "login", "globus", "--collection", PUBLIC, env=env)
        rows = ptmtorrent(home, "auth", "status", env=env)

        assert {row["server"] for row in rows} >= {"transfer.api.globus.org", PUBLIC}
        assert stat.S_IMODE((home / "globus" / "tokens.json").stat().st_mode) == 0o600

    def test_data_access_is_asked_for_mapped_collections_alone(self, world: World, made: Made) -> None:
        env = world.environment(MAINTAINER, MAINTAINERS)
        world.state.collections[PUBLIC].entity_type = MAPPED

        rows = ptmtorrent(made.home.root, "auth", "login", "globus", "--collection", PUBLIC, env=env)

        asked = [row["scope"] for row in rows if "data_access" in row["scope"]]
        assert len(asked) == 1
        assert PUBLIC in asked[0]

    def test_tokens_that_others_may_read_are_closed_to_them(self, world: World) -> None:
        home = Home(world.user / "home")
        world.log_person_in(home, USER)
        tokens = home.globus / "tokens.json"
        tokens.chmod(0o644)

        ptmtorrent(home.root, "auth", "status", env=world.environment(USER, USERS))

        assert stat.S_IMODE(tokens.stat().st_mode) == 0o600

    def test_damaged_tokens_are_named(self, world: World, made: Made) -> None:
        put(world, made)
        home = user_home(world, made, world.place_with_host)
        home.globus.mkdir()
        (home.globus / "tokens.json").write_text('{"data"')

        error = error_of(fetch(world, made, code=20))

        assert f"remove `{home.globus / 'tokens.json'}`" in error["hint"]

    def test_a_collection_that_is_not_there_is_named(self, world: World, made: Made) -> None:
        nowhere = world.place.replace(PUBLIC, "99999999-9999-4999-8999-999999999999")

        error = error_of(fetch(world, made, location=nowhere, code=12))

        assert "99999999" in error["message"]

    def test_without_a_client_nobody_can_log_in(self, world: World, made: Made) -> None:
        events = ptmtorrent(made.home.root, "auth", "login", "globus", code=10, env=world.environment(None))

        assert "globus_client_id" in error_of(events)["hint"]


def test_the_unmodified_globus_cli_sees_the_collection_and_our_task(world: World, made: Made) -> None:
    program = next((path for path in (Path(".venv-globus-cli/bin/globus"),) if path.exists()), shutil.which("globus"))
    if program is None:
        pytest.skip("globus-cli is not installed")
    publish(world, made)
    task = next(iter(world.state.tasks))
    env = {
        **world.environment(None),
        "GLOBUS_CLI_CLIENT_ID": MAINTAINER,
        "GLOBUS_CLI_CLIENT_SECRET": "not really secret",
        "HOME": str(world.root),
    }

    def globus(*words: str) -> str:
        done = subprocess.run([program, *words], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "timestamp.json" in globus("ls", f"{PUBLIC}:/ptm/channel/metadata")
    assert globus("task", "wait", task, "--timeout", "20") == ""
    assert "SUCCEEDED" in globus("task", "show", task)


def test_the_fingerprint_of_what_was_published_is_ours(world: World, made: Made) -> None:
    publish(world, made)

    assert fingerprint(world.channel) == fingerprint(made.folder)
