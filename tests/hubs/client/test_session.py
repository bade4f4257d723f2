import gzip
import json

import pytest

from ptmtorrent.errors import HubError, Interrupted, NotFound, RateLimited
from ptmtorrent.hubs.client.session import ATTEMPTS, MAX_REDIRECTS, Session, next_url, pause
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.model.records import Event, Retry
from ptmtorrent.stop import Stop
from tests.hubs.conftest import Time
from tests.hubs.peer import Asked, Reply, json_reply, ranged, serving

SECRET = {"Authorization": "Bearer hf_secret"}
TAG = '"1"'


def read(session: Session, url: str) -> bytes:
    return session.read(url, SECRET, budget="api", what="`it`")[0]


def test_document_is_read_and_identity_is_requested(session: Session) -> None:
    with serving(lambda _: json_reply("[1]")) as peer:
        assert read(session, f"{peer.base}/x") == b"[1]"

    assert peer.asked[0].headers["accept-encoding"] == "identity"


def test_credentials_do_not_follow_to_another_origin(session: Session) -> None:
    with serving(lambda _: json_reply("[]")) as other, serving(lambda _: Reply()) as peer:
        peer.answer = lambda _: Reply(302, headers={"Location": f"{other.base}/there"})
        read(session, f"{peer.base}/here")

    assert peer.asked[0].headers["authorization"] == SECRET["Authorization"]
    assert "authorization" not in other.asked[0].headers


def test_credentials_follow_on_the_same_origin(session: Session) -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(307, headers={"Location": "/new"}) if asked.path == "/old" else json_reply("[]")

    with serving(answer) as peer:
        read(session, f"{peer.base}/old")

    assert [asked.headers["authorization"] for asked in peer.asked] == [SECRET["Authorization"]] * 2


def test_credentials_do_not_come_back_with_a_redirect_from_elsewhere(session: Session) -> None:
    with serving(lambda _: Reply()) as other, serving(lambda _: json_reply("[]")) as peer:
        other.answer = lambda _: Reply(302, headers={"Location": f"{peer.base}/back"})
        peer.answer = lambda asked: (
            json_reply("[]") if asked.path == "/back" else Reply(302, headers={"Location": f"{other.base}/away"})
        )
        read(session, f"{peer.base}/start")

    assert "authorization" not in other.asked[0].headers


def test_endless_redirects_are_refused(session: Session) -> None:
    with (
        serving(lambda _: Reply(302, headers={"Location": "/again"})) as peer,
        pytest.raises(HubError, match="redirects more than"),
    ):
        read(session, f"{peer.base}/x")

    assert len(peer.asked) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("location", ["file:///etc/passwd", "", "http://[", "//[::1"])
def test_redirect_to_another_scheme_than_http_is_refused(session: Session, location: str) -> None:
    with (
        serving(lambda _: Reply(302, headers={"Location": location})) as peer,
        pytest.raises(HubError, match="redirects to"),
    ):
        read(session, f"{peer.base}/x")


@pytest.mark.parametrize("location", ["http://a..b/", f"http://{'a' * 70}/", "http://127.0.0.1:99999/"])
def test_redirect_to_an_impossible_host_is_unreachable(session: Session, location: str) -> None:
    with serving(lambda _: Reply(302, headers={"Location": location})) as peer, pytest.raises(Unreachable):
        read(session, f"{peer.base}/x")


def test_encoded_document_is_refused_before_decoding(session: Session) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    with (
        serving(lambda _: Reply(body=gzip.compress(b"[]"), headers=headers)) as peer,
        pytest.raises(HubError, match="`gzip`"),
    ):
        read(session, f"{peer.base}/x")


def test_endless_document_is_not_read_further_than_the_limit(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptmtorrent.hubs.client.session.MAX_REPLY_BYTES", 1000)

    with serving(lambda _: json_reply("[" + "0," * 1000)) as peer, pytest.raises(HubError, match="longer than 1000"):
        read(session, f"{peer.base}/x")


def test_login_page_is_a_hub_error_that_says_so(session: Session) -> None:
    page = Reply(body=b"<html>log in</html>", headers={"Content-Type": "text/html"})
    with serving(lambda _: page) as peer, pytest.raises(HubError, match="text/html") as caught:
        read(session, f"{peer.base}/x")

    assert "login page" in (caught.value.hint or "")


def test_refused_connection_is_unreachable(session: Session) -> None:
    with serving(lambda _: Reply()) as peer:
        pass

    with pytest.raises(Unreachable, match="`it`"):
        read(session, f"{peer.base}/x")


def test_body_that_breaks_off_is_unreachable(session: Session) -> None:
    reply = json_reply('["long enough to be cut"]')
    reply.cut = 5
    with serving(lambda _: reply) as peer, pytest.raises(Unreachable):
        read(session, f"{peer.base}/x")


def test_spent_budget_is_waited_for_before_sending(session: Session, time: Time) -> None:
    with serving(lambda _: json_reply("[]", RateLimit='"api";r=0;t=40')) as peer:
        read(session, f"{peer.base}/1")
        waited_before = list(time.waits)
        read(session, f"{peer.base}/2")

    assert waited_before == []
    assert time.waits == [41.0]


def test_retry_waits_as_long_as_the_hub_states_and_then_succeeds(session: Session, time: Time) -> None:
    replies = [Reply(429, headers={"Retry-After": "30"}), Reply(503), json_reply("[2]")]
    with serving(lambda _: replies.pop(0)) as peer:
        body = session.retry(lambda: read(session, f"{peer.base}/x"))

    assert body == b"[2]"
    assert 31.0 in time.waits


def test_retry_gives_up_after_a_bounded_number_of_attempts(session: Session) -> None:
    with serving(lambda _: Reply(500)) as peer, pytest.raises(Unreachable):
        session.retry(lambda: read(session, f"{peer.base}/x"))

    assert len(peer.asked) == ATTEMPTS


def test_retry_gives_up_on_a_hub_that_always_refuses(session: Session) -> None:
    with (
        serving(lambda _: Reply(429, headers={"Retry-After": "1"})) as peer,
        pytest.raises(RateLimited) as caught,
    ):
        session.retry(lambda: read(session, f"{peer.base}/x"))

    assert caught.value.retry_after == 1.0
    assert len(peer.asked) == ATTEMPTS


def test_retry_does_not_repeat_permanent_errors(session: Session) -> None:
    with serving(lambda _: Reply(404)) as peer, pytest.raises(NotFound):
        session.retry(lambda: read(session, f"{peer.base}/x"))

    assert len(peer.asked) == 1


def test_stop_ends_a_wait_for_the_hub() -> None:
    stop = Stop()
    stop.set()

    with pytest.raises(Interrupted):
        pause(3600.0, stop)


def test_redirect_from_https_to_http_is_refused() -> None:
    with pytest.raises(HubError, match="https to http"):
        next_url("https://hub/x", "http://hub/x", "`it`")


def test_stop_of_a_block_ends_its_waits_and_gives_way_to_the_session_again() -> None:
    own = Stop()
    session = Session(stop=own)

    with session.halting() as halt:
        halt.set()
        assert session.is_stopped()

    assert not session.is_stopped()
    own.set()
    assert session.is_stopped()


@pytest.mark.parametrize("status", [201, 204, 302])
def test_answer_to_a_post_is_whole_or_refused(session: Session, status: int) -> None:
    with (
        serving(lambda _: Reply(status, headers={"Location": "/elsewhere"})) as peer,
        pytest.raises(HubError, match=f"`it` could not be read: the hub returned {status}"),
    ):
        session.post(f"{peer.base}/x", b"{}", {}, budget="api", what="`it`")

    assert [asked.path for asked in peer.asked] == ["/x"]


@pytest.mark.parametrize(
    ("path", "sent"),
    [("/a/b/c", {"long"}), ("/a/x", {"short"}), ("/elsewhere", {"short", "long"})],
)
def test_login_of_the_longest_address_above_is_sent_to_its_origin_alone(
    session: Session, path: str, sent: set[str]
) -> None:
    with serving(lambda _: json_reply("[]")) as peer, serving(lambda _: json_reply("[]")) as other:
        session.logins.update({f"{peer.base}/a/": "short", f"{peer.base}/a/b/": "long"})
        session.read(f"{peer.base}{path}", {}, budget="api", what="`it`")
        session.read(f"{other.base}{path}", {}, budget="api", what="`it`")
        read(session, f"{peer.base}{path}")

    assert peer.asked[0].headers["authorization"] in sent
    assert peer.asked[1].headers["authorization"] == SECRET["Authorization"]
    assert "authorization" not in other.asked[0].headers


@pytest.mark.parametrize("cut", [1, 10, 99, 100])
def test_document_of_a_hub_that_closes_early_is_read_to_the_end(session: Session, time: Time, cut: int) -> None:
    text = json.dumps("x" * 98).encode()

    def answer(asked: Asked) -> Reply:
        same = asked.headers.get("if-range", TAG) == TAG
        reply = ranged(text, asked, **{"Content-Type": "application/json", "ETag": TAG})
        assert same
        reply.cut = cut
        return reply

    with serving(answer) as peer:
        found, _ = session.retry(lambda: session.read(f"{peer.base}/x", {}, budget="api", what="`it`"))
        assert len(peer.asked) == -(-len(text) // cut)
    assert found == text
    assert time.waits == [0.0] * (len(peer.asked) - 1)


@pytest.mark.parametrize("tag", [None, f"W/{TAG}"])
def test_document_that_may_have_changed_is_read_from_its_first_byte(session: Session, tag: str | None) -> None:
    text = json.dumps("x" * 98).encode()

    def answer(asked: Asked) -> Reply:
        reply = ranged(text, asked, **{"Content-Type": "application/json", **({"ETag": tag} if tag else {})})
        reply.cut = 50 if len(peer.asked) == 1 else None
        return reply

    with serving(answer) as peer:
        found, _ = session.retry(lambda: session.read(f"{peer.base}/x", {}, budget="api", what="`it`"))
        assert [asked.headers.get("range") for asked in peer.asked] == [None, None]
    assert found == text


def test_retry_that_takes_long_is_reported(session: Session) -> None:
    events: list[Event] = []
    session.emit = events.append
    with serving(lambda _: Reply(503)) as peer, pytest.raises(Unreachable):
        session.retry(lambda: read(session, peer.base), what="`it`")
    found = [(event.what, event.attempt, event.seconds) for event in events if isinstance(event, Retry)]
    assert found == [("`it`", 4, 2.0), ("`it`", 5, 4.0), ("`it`", 6, 8.0)]
