from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError
from ptmtorrent.model.ids import PackageName
from ptmtorrent.state.upstream_flags import Flag, FlagName, Flags, read_flags


def flag(package: str, name: FlagName = "withdrawn", since: str = "2026-01-01T00:00:00Z") -> Flag:
    return Flag(package=PackageName(package), flag=name, since=since, reason="it went")


def test_flag_that_is_put_again_keeps_its_first_moment(tmp_path: Path) -> None:
    with Flags(tmp_path / "flags.sqlite") as flags:
        assert flags.put(flag("hf:a/x"))
        assert not flags.put(flag("hf:a/x", since="2027-01-01T00:00:00Z"))

    assert read_flags(tmp_path / "flags.sqlite") == [flag("hf:a/x")]


def test_package_may_carry_several_flags_and_lose_one(tmp_path: Path) -> None:
    with Flags(tmp_path / "flags.sqlite") as flags:
        for each in (flag("hf:b/y"), flag("hf:a/x"), flag("hf:a/x", "registered-again")):
            flags.put(each)
        assert flags.all("withdrawn") == [flag("hf:a/x"), flag("hf:b/y")]
        flags.drop(PackageName("hf:a/x"), "withdrawn")

        assert flags.all() == [flag("hf:a/x", "registered-again"), flag("hf:b/y")]


def test_home_without_flags_has_none_and_gets_no_file(tmp_path: Path) -> None:
    assert read_flags(tmp_path / "flags.sqlite") == []
    assert list(tmp_path.iterdir()) == []


def test_file_that_holds_something_else_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "flags.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="flags"):
        read_flags(tmp_path / "flags.sqlite")
