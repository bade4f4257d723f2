from pathlib import Path

import pytest

from ptmtorrent.errors import UsageError
from ptmtorrent.hubs.registry import HUBS, HubKind, HubOptions, find_kind


@pytest.mark.parametrize("kind", HUBS, ids=lambda kind: kind.name)
def test_every_hub_is_made_as_it_is_registered(kind: HubKind, tmp_path: Path) -> None:
    hub = kind.make(HubOptions(endpoint=kind.endpoint, work=tmp_path))

    assert (hub.name, hub.prefix, hub.endpoint) == (kind.name, kind.prefix, kind.endpoint)
    assert find_kind(kind.name) is kind
    hub.close()


def test_names_and_prefixes_are_taken_once() -> None:
    assert len({kind.name for kind in HUBS}) == len({kind.prefix for kind in HUBS}) == len(HUBS)


def test_unknown_hub_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="nohub") as raised:
        find_kind("nohub")

    assert "`huggingface`" in (raised.value.hint or "")


def test_tokens_are_not_printed_with_the_options(tmp_path: Path) -> None:
    assert "secret" not in repr(HubOptions(endpoint="", work=tmp_path, tokens={"hf": "secret"}))
