"""`renew` and `keys show`, as a maintainer types them."""

from pathlib import Path

from tests.channels import RELEASE, make_channel
from tests.in_process import ptmtorrent

ROLES = {"root", "targets", "snapshot", "timestamp"}


def test_renewing_without_keys_names_the_command_that_makes_them(tmp_path: Path) -> None:
    events = ptmtorrent(tmp_path / "home", "renew", code=10)
    assert "keys init" in events[-1]["hint"]


def test_renewing_without_a_release_is_not_found(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ptmtorrent(home, "keys", "init", "--no-passphrase")
    events = ptmtorrent(home, "renew", code=12)
    assert "release" in events[-1]["hint"]


def test_renewing_and_showing_the_keys_say_when_each_role_expires(tmp_path: Path) -> None:
    home = make_channel(tmp_path).home.root
    renewed = {event["role"]: event["expires"] for event in ptmtorrent(home, "renew") if event["type"] == "role"}
    [shown] = [event for event in ptmtorrent(home, "keys", "show") if event["type"] == "key"]
    assert set(renewed) == ROLES
    assert {role: shown[f"{role}_expires"][:20] for role in ROLES} == renewed
    assert shown["folder"] == str(home / "keys")


def test_keys_are_shown_before_the_first_release(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert "keys init" in ptmtorrent(home, "keys", "show", code=12)[-1]["hint"]
    ptmtorrent(home, "keys", "init", "--no-passphrase")
    [shown] = ptmtorrent(home, "keys", "show")

    assert shown == {
        "type": "key",
        "fingerprint": None,
        "roles": "root, targets, snapshot, timestamp",
        "folder": str(home / "keys"),
    }
    assert "ptmtorrent release" in ptmtorrent(home, "keys", "show", "--fingerprint", code=12)[-1]["hint"]


def test_a_release_is_deleted_and_retired_by_name(tmp_path: Path) -> None:
    home = make_channel(tmp_path).home.root
    to = tmp_path / "www"
    ptmtorrent(home, "publish", RELEASE, "--to", to)
    assert "retire it there first" in ptmtorrent(home, "release", "delete", RELEASE, code=10)[-1]["hint"]
    assert "only release" in ptmtorrent(home, "publish", "--retire", RELEASE, "--to", to, code=2)[-1]["message"]
    assert "no release `other`" in ptmtorrent(home, "release", "delete", "other", code=12)[-1]["message"]
