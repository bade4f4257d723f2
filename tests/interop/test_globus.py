"""A release through Globus: real GridFTP servers and a real HTTPS server, behind a simulated Transfer service."""

import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from ptmtorrent.paths import Home
from ptmtorrent.trust.fingerprints import fingerprint
from tests.channels import RELEASE, Made
from tests.interop.globus_runs import (
    BY_NAME,
    error_of,
    fetch,
    laid_out_right,
    publish,
    put,
    states,
    tree,
    user_home,
)
from tests.program import ptmtorrent
from tests.simulators.globus.state import MAPPED, Fault
from tests.simulators.globus.world import (
    MAINTAINER,
    MAINTAINERS,
    NATIVE,
    PUBLIC,
    USER,
    USERS,
    World,
    https_scope,
)

pytestmark = pytest.mark.interop
APP = {"PTMTORRENT_GLOBUS_CLIENT_ID": NATIVE}


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
        assert any("not cleaned up" in str(event.get("message")) for event in events)

    def test_another_channel_is_not_published_over(self, world: World, made: Made) -> None:
        put(world, made)
        root = world.channel / "metadata/1.root.json"
        root.write_bytes(root.read_bytes() + b" ")

        error = error_of(publish(world, made, code=10))

        assert "another channel" in error["message"]
        assert not world.state.tasks


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

        error = error_of(fetch(world, made, client=None, transport="http", code=11, **APP))

        assert f"ptmtorrent auth login globus --collection {PUBLIC}" in error["hint"]

    def test_without_a_client_the_error_says_where_it_is_set(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.collections[PUBLIC].rules = list(BY_NAME)

        error = error_of(fetch(world, made, client=None, transport="http", code=10))

        assert "needs a login" in error["message"]
        assert "`globus_client_id` in `" in error["hint"]
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

        error = error_of(fetch(world, made, client=None, location=location, transport="http", code=11, **APP))

        assert f"ptmtorrent auth login globus --collection {PUBLIC}" in error["hint"]

    def test_who_is_not_allowed_is_told_so(self, world: World, made: Made) -> None:
        put(world, made)
        world.state.collections[PUBLIC].rules.clear()

        error = error_of(fetch(world, made, transport="http", code=11))

        assert "403 although you are logged in" in error["message"]
        assert "check the path" in error["hint"]
        assert "auth login" not in error["hint"]

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


class TestLogin:
    def test_tokens_are_readable_by_their_owner_alone_and_shown(self, world: World, made: Made) -> None:
        home = made.home.root
        env = world.environment(MAINTAINER, MAINTAINERS)

        ptmtorrent(home, "auth", "login", "globus", "--collection", PUBLIC, env=env)
        rows = ptmtorrent(home, "auth", "status", env=env)

        assert {row["server"] for row in rows} >= {"transfer.api.globus.org", PUBLIC}
        assert {row["identity"] for row in rows} == {MAINTAINER}
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
