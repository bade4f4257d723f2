import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from ptmtorrent.errors import AuthError, ConfigError, HubError, NotFound
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.huggingface.adapter import HuggingFace
from ptmtorrent.hubs.huggingface.records import UNREADABLE
from ptmtorrent.hubs.port import HubFile, Listed, Query
from tests.hubs.peer import Asked, Peer, Reply, json_reply, serving

COMMIT = "c" * 40


def names(*rows: tuple[str, int]) -> str:
    return json.dumps([{"id": name, "downloads": downloads, "sha": COMMIT} for name, downloads in rows])


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving(lambda _: json_reply("[]")) as served:
        yield served


@pytest.fixture
def hub(peer: Peer, session: Session) -> HuggingFace:
    return HuggingFace(f"{peer.base}/", "hf_secret", session=session)


def paged(peer: Peer, *pages: str) -> None:
    """Answer page after page, each linking to the next."""

    def answer(asked: Asked) -> Reply:
        at = int(parse_qs(urlsplit(asked.path).query).get("cursor", ["0"])[0])
        if at + 1 == len(pages):
            return json_reply(pages[at])
        return json_reply(pages[at], Link=f'<{peer.base}/api/models?cursor={at + 1}>; rel="next"')

    peer.answer = answer


def test_listing_follows_the_links(hub: HuggingFace, peer: Peer) -> None:
    paged(peer, names(("a/x", 9)), names(("a/y", 8)), names(("a/z", 7)))
    pages = list(hub.listing(Query(), None))

    assert [[listed.name for listed in page.packages] for page in pages] == [["a/x"], ["a/y"], ["a/z"]]
    assert pages[-1].cursor is None


@pytest.mark.parametrize("odd", ['{"modelId": 5}', '{"id": 7}', "{}"])
def test_a_record_of_a_listing_that_cannot_be_read_costs_its_package_alone(
    hub: HuggingFace, peer: Peer, odd: str
) -> None:
    paged(peer, f"[{names(('a/x', 9))[1:-1]}, {odd}, {names(('a/y', 8))[1:-1]}]")
    [page] = hub.listing(Query(), None)

    assert [listed.name for listed in page.packages if listed.access != UNREADABLE] == ["a/x", "a/y"]
    assert len(page.packages) == 3


def test_listing_goes_on_from_a_cursor_in_another_process(hub: HuggingFace, peer: Peer) -> None:
    paged(peer, names(("a/x", 9)), names(("a/y", 8)))
    first = next(hub.listing(Query(), None))
    other = HuggingFace(hub.endpoint, session=hub.session)

    assert [page.packages[0].name for page in other.listing(Query(), first.cursor)] == ["a/y"]


def test_listing_stops_where_packages_are_less_popular_than_asked(hub: HuggingFace, peer: Peer) -> None:
    paged(peer, names(("a/x", 90)), names(("a/y", 51), ("a/z", 50)), names(("a/w", 1)))

    assert len(list(hub.listing(Query(min_downloads=51), None))) == 2
    assert len(peer.asked) == 2


def test_listing_asks_for_all_that_a_plan_needs(hub: HuggingFace, peer: Peer) -> None:
    list(hub.listing(Query(limit=7), None))
    query = parse_qs(urlsplit(peer.asked[0].path).query)

    assert query["sort"] == ["downloads"]
    assert query["limit"] == ["7"]
    assert {"sha", "downloads", "gated", "tags", "lastModified"} <= set(query["expand"])


@pytest.mark.parametrize("link", ["http://elsewhere.invalid/api/models?cursor=1", "//elsewhere.invalid/x"])
def test_listing_that_goes_on_elsewhere_is_refused(hub: HuggingFace, peer: Peer, link: str) -> None:
    peer.answer = lambda _: json_reply("[]", Link=f'<{link}>; rel="next"')

    with pytest.raises(HubError, match="another host"):
        list(hub.listing(Query(), None))


def test_listing_that_goes_on_nowhere_is_refused(hub: HuggingFace, peer: Peer) -> None:
    peer.answer = lambda _: json_reply("[]", Link='<http://[>; rel="next"')

    with pytest.raises(HubError, match="continues at"):
        list(hub.listing(Query(), None))


def test_tree_of_pages_without_end_is_refused(hub: HuggingFace, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptmtorrent.hubs.huggingface.adapter.MAX_TREE_BYTES", 100)
    peer.answer = lambda asked: json_reply('[{"type":"directory"}]', Link=f'<{peer.base}{asked.path}&x>; rel="next"')

    with pytest.raises(HubError, match="more than 100 B"):
        hub.files(hub.describe(Listed(name="a/x", commit=COMMIT)))


def test_tree_that_goes_round_in_circles_is_refused_at_once(hub: HuggingFace, peer: Peer) -> None:
    peer.answer = lambda _: json_reply("[]", Link='</api/models/a/x/tree/again>; rel="next"')

    with pytest.raises(HubError, match="does not end"):
        hub.files(hub.describe(Listed(name="a/x", commit=COMMIT)))
    assert len(peer.asked) == 2


@pytest.mark.parametrize("token", ["hf_secret\x00", "hf_s\u00e9cret", "hf secret\r\nX: y"])
def test_token_that_no_header_can_hold_is_refused_without_printing_it(token: str) -> None:
    with pytest.raises(ConfigError, match="HF_TOKEN") as caught:
        HuggingFace("http://127.0.0.1:1", token)

    assert "hf" not in str(caught.value.message)


def test_line_end_after_a_token_is_not_part_of_it(peer: Peer, session: Session) -> None:
    peer.answer = lambda _: json_reply(names(("a/x", 1)))
    list(HuggingFace(peer.base, "hf_secret\n", session=session).listing(Query(), None))

    assert peer.asked[0].headers["authorization"] == "Bearer hf_secret"


def test_link_may_be_relative_and_among_others(hub: HuggingFace, peer: Peer) -> None:
    links = '</api/models?first>; rel="first", </api/models?a=1,<2>; rel="prev", </api/models?second>; rel=next'
    peer.answer = lambda asked: json_reply("[]") if asked.path.endswith("second") else json_reply("[]", Link=links)
    list(hub.listing(Query(), None))

    assert peer.asked[-1].path == "/api/models?second"


@pytest.mark.parametrize(("status", "access"), [(404, "gone"), (401, "hidden")])
def test_named_package_that_is_gone_is_listed_as_gone_or_as_hidden(
    hub: HuggingFace, peer: Peer, status: int, access: str
) -> None:
    peer.answer = lambda _: Reply(status, headers={"X-Error-Code": "RepoNotFound"})
    [page] = hub.listing(Query(ids=("a/gone",)), None)

    assert [listed.access for listed in page.packages] == [access]
    with pytest.raises(NotFound, match="`hf:a/gone`"):
        hub.describe(page.packages[0])


def test_renamed_package_is_known_by_its_new_name_and_keeps_its_id(hub: HuggingFace, peer: Peer) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.path == "/api/models/old":
            return Reply(307, headers={"Location": "/api/models/new/name"})
        return json_reply(json.dumps({"_id": "621f", "id": "new/name", "sha": COMMIT}))

    peer.answer = answer
    [page] = hub.listing(Query(ids=("old",)), None)
    identity = hub.describe(page.packages[0]).identity

    assert (identity.name, identity.hub_id) == ("new/name", "621f")
    assert [asked.headers["authorization"] for asked in peer.asked] == ["Bearer hf_secret"] * 2


def test_named_package_with_an_unusable_name_is_not_asked_for(hub: HuggingFace, peer: Peer) -> None:
    [page] = hub.listing(Query(ids=("../admin",)), None)

    assert page.packages[0].access == "gone"
    assert peer.asked == []


def test_description_is_taken_from_the_listing(hub: HuggingFace, peer: Peer) -> None:
    paged(peer, names(("a/x", 9)))
    [page] = hub.listing(Query(), None)
    described = hub.describe(page.packages[0])

    assert described.identity.commit == COMMIT
    assert described.answers == (("model_info", page.packages[0].raw.encode()),)
    assert len(peer.asked) == 1


def test_package_listed_without_a_commit_is_asked_for(hub: HuggingFace, peer: Peer) -> None:
    peer.answer = lambda _: json_reply(json.dumps({"id": "a/x", "sha": COMMIT}))

    assert hub.describe(Listed(name="a/x")).identity.commit == COMMIT
    assert peer.asked[0].path == "/api/models/a/x"


def test_package_without_any_commit_is_not_found(hub: HuggingFace, peer: Peer) -> None:
    peer.answer = lambda _: json_reply('{"id":"a/x"}')

    with pytest.raises(NotFound, match="no commit"):
        hub.describe(Listed(name="a/x"))


@pytest.mark.parametrize("access", ["gated", "private"])
def test_closed_package_is_refused_without_a_token(peer: Peer, session: Session, access: str) -> None:
    anonymous = HuggingFace(peer.base, session=session)

    with pytest.raises(AuthError, match=access):
        anonymous.describe(Listed(name="a/x", access=access, commit=COMMIT))
    assert peer.asked == []


def test_disabled_package_is_refused_even_with_a_token(hub: HuggingFace) -> None:
    with pytest.raises(AuthError, match="disabled"):
        hub.describe(Listed(name="a/x", access="disabled", commit=COMMIT))


def test_tree_is_read_page_by_page_and_kept(hub: HuggingFace, peer: Peer) -> None:
    def tree(path: str) -> str:
        return json.dumps([{"type": "file", "path": path, "oid": "a" * 40, "size": 1}])

    paged(peer, tree("b"), tree("a"))
    files, answers = hub.files(hub.describe(Listed(name="a/x", commit=COMMIT, raw="{}")))

    assert [file.path for file in files] == ["a", "b"]
    assert answers == (("tree", tree("b").encode()), ("tree", tree("a").encode()))
    assert peer.asked[0].path == f"/api/models/a/x/tree/{COMMIT}?recursive=true&expand=false"


def test_commit_that_vanished_is_not_found(hub: HuggingFace, peer: Peer) -> None:
    peer.answer = lambda _: Reply(404, headers={"X-Error-Code": "RevisionNotFound"})

    with pytest.raises(NotFound, match="`hf:a/x`"):
        hub.files(hub.describe(Listed(name="a/x", commit=COMMIT)))


def test_odd_names_are_quoted_in_addresses(hub: HuggingFace) -> None:
    described = hub.describe(Listed(name="a/ü x", commit=COMMIT))
    located = hub.locate(described, HubFile(path="d/50% & ?#[é].txt", size=1, oid=None, source="git"))

    assert located.url == (f"{hub.endpoint}/a/%C3%BC%20x/resolve/{COMMIT}/d/50%25%20%26%20%3F%23%5B%C3%A9%5D.txt")
    assert located.headers == {"Authorization": "Bearer hf_secret"}
