"""Verbs in places that are normal elsewhere; `scripts/show-places` shows every verb in every place."""

import codecs
import io
import sys
from pathlib import Path

import pytest

from ptmtorrent.cli.main import print_in
from ptmtorrent.scrub import printable
from tests.places import VERBS, places, see

SHORT = ("de_DE.ISO-8859-1", "no root, no HOME")
SOME = ("clone", "keys init", "release", "fetch")


@pytest.mark.parametrize("name", SHORT)
def test_verbs_work_in_places_that_are_normal_elsewhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = next((place for place in places(tmp_path) if place.name == name), None)
    if place is None:
        pytest.skip(f"this machine has no `{name}`")
    for verb in [verb for verb in VERBS if verb not in SOME]:
        monkeypatch.delitem(VERBS, verb)
    root = tmp_path / "root"
    root.mkdir()
    cells = see(place, root)
    assert {verb: cell.problem for verb, cell in cells.items() if cell.problem} == {}
    assert len(cells) == len(SOME) + 1


@pytest.mark.parametrize("code", ["ascii", "latin-1"])
def test_output_that_a_terminal_cannot_show_is_escaped(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    print_in(code)
    assert codecs.lookup(stream.encoding) == codecs.lookup(code)
    assert printable("\u65e5 \udcff", stream) == "\\u65e5 \\udcff"
