import pytest

from ptmtorrent.errors import HubError
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.client.ssrf import refuse_internal
from ptmtorrent.hubs.registry import HUBS, HubOptions, find_kind
from ptmtorrent.network import is_internal
from tests.hubs.peer import Reply, serving

INNER = [
    "http://127.0.0.1/x",
    "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1:8080/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://localhost/",
    "http://2130706433/",
]


@pytest.mark.parametrize("url", INNER)
def test_internal_addresses_are_refused(url: str) -> None:
    with pytest.raises(HubError, match="in the network of this"):
        refuse_internal(url, "`w`")


@pytest.mark.parametrize("url", ["https://1.1.1.1/x", "http://name.invalid/", "http://[", "", "/path"])
def test_public_addresses_are_not_refused(url: str) -> None:
    assert not is_internal(url)


def test_guarded_session_requests_no_internal_address_and_follows_no_redirect_there() -> None:
    with serving(lambda _: Reply(body=b"secret")) as inside:
        session = Session(guarded=True)
        with (
            pytest.raises(HubError, match="in the network of this"),
            session.open(inside.base, {}, budget="", what="`w`"),
        ):
            pass
        session.close()
        assert inside.asked == []


@pytest.mark.parametrize("kind", [kind for kind in HUBS if kind.schemes], ids=lambda kind: kind.name)
def test_adapters_of_public_hubs_are_guarded_and_those_of_internal_hubs_are_not(kind, tmp_path) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    made = [
        find_kind(kind.name).make(HubOptions(endpoint=endpoint, work=tmp_path, environment={"PATH": "/usr/bin:/bin"}))
        for endpoint in ("https://192.0.2.1", "http://127.0.0.1:9/a/b")
    ]
    for hub in made:
        hub.close()
    # 192.0.2.0/24 is for documentation, and not public either.
    assert [hub.session.guarded for hub in made] == [False, False]
    public = find_kind(kind.name).make(
        HubOptions(endpoint="https://hub.invalid/a/b", work=tmp_path, environment={"PATH": "/usr/bin:/bin"})
    )
    public.close()
    assert public.session.guarded
