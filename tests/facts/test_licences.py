import pytest

from ptmtorrent.facts.licences import rights_of


@pytest.mark.parametrize(
    "licence", ["apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "bsd-3-clause", "MIT", "mit AND apache-2.0"]
)
def test_licences_that_let_anyone_pass_copies_on_are_open(licence: str) -> None:
    assert rights_of(licence, gated=False) == "open"


@pytest.mark.parametrize(
    "licence", [None, "", "other", "unknown", "openrail", "cc-by-nc-4.0", "llama3", "mit AND other", "mit OR other"]
)
def test_everything_else_is_restricted(licence: str | None) -> None:
    assert rights_of(licence, gated=False) == "restricted"


def test_gate_is_stronger_than_any_licence() -> None:
    assert rights_of("mit", gated=True) == "gated"
