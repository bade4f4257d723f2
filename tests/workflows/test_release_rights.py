from pathlib import Path

import pytest

from ptmtorrent.errors import NotFound
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import Note, Result, Summary
from ptmtorrent.paths import Home
from ptmtorrent.trust.keys import Keys
from ptmtorrent.workflows.release.release import release
from tests.workflows.captured import Listener, TickingClock, capture, new_home, writing

FIRST = ReleaseName("r1")


def _home(tmp_path: Path, *packages: tuple[str, str, str | None]) -> tuple[Listener, tuple[Home, Keys]]:
    home, keys = new_home(tmp_path / "home")
    with writing(home) as store:
        for name, rights, licence in packages:
            capture(store, tmp_path, f"hf:{name}", {"config.json": name.encode()}, rights=rights, licence=licence)
    return Listener(), (home, keys)


MIXED = (
    ("a/open", "open", "mit"),
    ("a/nc", "restricted", "cc-by-nc-4.0"),
    ("a/none", "restricted", None),
    ("a/gate", "gated", "mit"),
    ("a/was", "restricted", "mit"),
)


def test_release_leaves_out_what_may_not_be_passed_on_and_says_how_many(tmp_path: Path) -> None:
    heard, (home, keys) = _home(tmp_path, *MIXED)
    made = release(FIRST, home, keys, clock=TickingClock(), emit=heard)
    assert made.totals.packages == 1
    why = {event.id: event.reason for event in heard.of(Result) if event.status == "impossible"}
    assert why["hf:a/nc"] == "it is restricted (restricted:cc-by-nc-4.0) and may not be passed on"
    assert why["hf:a/was"] == "it is restricted (captured as restricted) and may not be passed on"
    assert why.keys() == {"hf:a/nc", "hf:a/none", "hf:a/gate", "hf:a/was"}
    assert "2 restricted, 1 gated, 1 unknown" in "".join(event.message for event in heard.of(Note))
    assert [event.failed for event in heard.of(Summary)] == [0]


@pytest.mark.parametrize(("rights", "count"), [("restricted", 3), ("unknown", 2), ("gated", 2)])
def test_class_that_is_included_goes_along_alone(tmp_path: Path, rights: str, count: int) -> None:
    heard, (home, keys) = _home(tmp_path, *MIXED)
    include = frozenset({rights})
    made = release(FIRST, home, keys, clock=TickingClock(), emit=heard, include=include)  # type: ignore[arg-type]  # of the test
    assert made.totals.packages == count


def test_nothing_that_may_be_passed_on_is_no_release(tmp_path: Path) -> None:
    heard, (home, keys) = _home(tmp_path, ("a/none", "restricted", None))
    with pytest.raises(NotFound, match="may be passed on"):
        release(FIRST, home, keys, clock=TickingClock(), emit=heard)
