"""`renew`, as a maintainer types it."""

from pathlib import Path

from tests.program import ptmtorrent


def test_renewing_without_keys_names_the_command_that_makes_them(tmp_path: Path) -> None:
    events = ptmtorrent(tmp_path / "home", "renew", code=10)
    assert "keys init" in events[-1]["hint"]


def test_renewing_without_a_release_is_not_found(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ptmtorrent(home, "keys", "init", "--no-passphrase")
    events = ptmtorrent(home, "renew", code=12)
    assert "release" in events[-1]["hint"]
