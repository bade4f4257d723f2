"""`keys`: the verbs as a maintainer types them."""

from pathlib import Path

from tests.channels import RELEASE, make_channel
from tests.in_process import ptmtorrent


def test_numbers_that_contradict_each_other_and_roles_that_are_none_are_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = ptmtorrent(home, "keys", "init", "--no-passphrase", "--threshold", 3, "--root-keys", 2, code=2)
    assert "3 signatures of 2" in made[-1]["message"]
    ptmtorrent(home, "keys", "init", "--no-passphrase", "--threshold", 3)
    assert "no release yet" in ptmtorrent(home, "keys", "rotate", "root", code=12)[-1]["message"]
    assert "not a role" in ptmtorrent(home, "keys", "rotate", "mirrors", code=2)[-1]["message"]


def test_a_channel_is_published_with_keys_that_were_rotated_revoked_and_signed_elsewhere(tmp_path: Path) -> None:
    home, to, other = make_channel(tmp_path).home.root, tmp_path / "to", tmp_path / "other"
    ptmtorrent(home, "publish", RELEASE, "--to", to)
    [pin] = [row["fingerprint"] for row in ptmtorrent(home, "keys", "show", "--fingerprint")]
    ptmtorrent(other, "trust", "add", to, "--fingerprint", pin)
    shown = [row for row in ptmtorrent(home, "keys", "show") if row["type"] == "role_key"]
    assert [row["signatures"] for row in shown if row["role"] == "root"] == ["2", "2", "2"]
    ptmtorrent(home, "keys", "revoke", next(row["key"] for row in shown if row["role"] == "timestamp")[:12])
    (other / "keys").mkdir()
    for number in (2, 3):
        (home / "keys" / f"root-{number}.pem").rename(other / "keys" / f"root-{number}.pem")
    [waits] = [row for row in ptmtorrent(home, "keys", "rotate", "snapshot") if row["type"] == "root"]
    assert waits["status"] == "waits"
    [signed] = [row for row in ptmtorrent(other, "keys", "sign", waits["file"]) if row["type"] == "root"]
    assert signed["status"] == "signed"
    [done] = [row for row in ptmtorrent(home, "keys", "sign", waits["file"]) if row["type"] == "root"]
    assert (done["version"], done["status"]) == ("3", "published")
    ptmtorrent(home, "publish", RELEASE, "--to", to)
    assert ptmtorrent(other, "releases", "--channel", to)[0]["release"] == RELEASE
