from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import HubError
from ptmtorrent.hubs.pytorch.adapter import NOT_CARDS
from ptmtorrent.hubs.pytorch.cards import read_card, read_hubconf
from tests.hubs.catalogues_samples import card

REAL = Path("../shared/data/pytorch")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real cards are not here")
def test_all_real_cards_are_read_and_the_template_is_refused() -> None:
    found = [path for path in REAL.glob("*.md") if path.name not in {*NOT_CARDS, "template.md"}]

    assert len(found) == 52
    assert all(read_card(path.read_bytes()).owned for path in found)
    with pytest.raises(HubError, match="not YAML"):
        read_card((REAL / "template.md").read_bytes())


def test_card_leads_to_the_remote_it_loads_from() -> None:
    read = read_card(card("Team/Vision", "v0.1"))

    assert (read.owned, read.ref, read.entries, read.tags) == ("Team/Vision", "v0.1", ("small",), ("vision",))


@pytest.mark.parametrize(
    "front",
    [
        *("a: &a [x]\nb: [*a, *a]", "- a", "a: !!python/object:os.system x", "github-id: ../../etc", "a: [", ""),
        "a: " + "[" * 5000,
        "a: " + "x" * 70_000,
    ],
)
def test_front_matter_that_is_none_is_refused(front: str) -> None:
    with pytest.raises(HubError):
        read_card(f"---\n{front}\n---\n".encode())


def test_anchors_are_refused_before_they_unfold() -> None:
    rows = ["github-id: a/b", "a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]

    with pytest.raises(HubError, match="anchors"):
        read_card("\n".join(["---", *rows, "---", ""]).encode())


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"---\n{text}\n---\n".encode()))
def test_any_bytes_are_a_card_or_refused(data: bytes) -> None:
    try:
        assert read_card(data).owned
    except HubError as error:
        assert error.message  # noqa: PT017


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode(errors="replace")))
def test_any_bytes_are_a_hubconf_or_refused(data: bytes) -> None:
    try:
        assert all(url.startswith("http") for url in read_hubconf(data).urls)
    except HubError as error:
        assert "hubconf.py" in error.message  # noqa: PT017


def test_hubconf_is_read_and_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    source = f"""
open({str(trap)!r}, "w")
dependencies = ["torch"]
URLS = {{"a": "https://host.invalid/a-0676ba61.pth", "b": "https://host.invalid/page.html", "c": "file:///a.pth"}}
def small(): pass
def _hidden(): pass
"""
    read = read_hubconf(source.encode())

    assert (read.entries, read.dependencies) == (("small",), ("torch",))
    assert read.urls == ("https://host.invalid/a-0676ba61.pth",)
    assert not trap.exists()


@pytest.mark.parametrize("source", [b"def (", b"\0", b"(" * 5000, b"x" * ((1 << 20) + 1)])
def test_hubconf_that_is_no_python_is_refused(source: bytes) -> None:
    with pytest.raises(HubError, match=r"hubconf\.py"):
        read_hubconf(source)
