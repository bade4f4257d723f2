"""Windows outlive a process; a hub never receives more requests than its quota, also after kills."""

import heapq
import random
import sqlite3
import tempfile
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import StoreError, UnsupportedFormat
from ptmtorrent.hubs.client.rate_limiter import SLACK_SECONDS, RateLimiter
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.state.rate_windows import Budget, SharedWindows, StoredWindows, Window, credential_id
from tests.hubs.conftest import Time
from tests.hubs.peer import json_reply, serving

API = Budget("hub", "api")
HEADERS = {"ratelimit": '"api";r=3;t=60', "ratelimit-policy": '"fixed window";"api";q=500;w=300'}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "limits.sqlite"


def test_requests_in_flight_when_a_process_is_killed_count_as_sent(path: Path) -> None:
    with StoredWindows(path, lambda: 5000.0) as kept:
        limiter = RateLimiter(lambda: 10.0, kept)
        limiter.take(API)
        limiter.settle(API, HEADERS, sent=10.0)
        assert [limiter.take(API) for _ in range(3)] == [0.0] * 3
    with StoredWindows(path, lambda: 5020.0) as kept:
        again = RateLimiter(lambda: 777.0, kept)

        assert again.take(API) == 40.0 + SLACK_SECONDS


def test_after_a_kill_one_request_finds_out_what_is_left(path: Path) -> None:
    with StoredWindows(path, lambda: 5000.0) as kept:
        limiter = RateLimiter(lambda: 10.0, kept)
        limiter.take(API)
        limiter.settle(API, HEADERS, sent=10.0)
    with StoredWindows(path, lambda: 5001.0) as kept:
        again = RateLimiter(lambda: 0.0, kept)

        assert [again.take(API), again.take(API)] == [0.0, None]


def test_window_of_which_no_reply_came_is_kept_with_the_quota_of_the_last(path: Path) -> None:
    with StoredWindows(path, lambda: 5000.0) as kept:
        kept.write(API, Window(quota=2, seconds=300), 0.0)
        for _ in range(2):
            assert RateLimiter(lambda: 0.0, kept).take(API) == 0.0

        assert RateLimiter(lambda: 0.0, kept).take(API) == 300.0 + SLACK_SECONDS


def test_closed_hub_stays_closed_for_the_next_process(path: Path) -> None:
    with StoredWindows(path, lambda: 5000.0) as kept:
        limiter = RateLimiter(lambda: 0.0, kept)
        limiter.take(API)
        limiter.settle(API, {}, sent=0.0, refused=True, retry_after=30.0)

        assert RateLimiter(lambda: 10.0, kept).take(API) == 30.0 + SLACK_SECONDS


def test_clock_that_was_set_back_does_not_close_a_hub_forever(path: Path) -> None:
    with StoredWindows(path, lambda: 10.0**9) as kept:
        kept.write(API, Window(left=0, ends=60.0), 0.0)
    with StoredWindows(path, lambda: 0.0) as kept:
        assert kept.read(API, 0.0).ends == 3600.0


@pytest.mark.parametrize("step", [3600.0, -3600.0, 2e9, -2e9])
def test_step_of_the_clock_between_two_processes_changes_no_window(path: Path, step: float) -> None:
    for number, (wall, uptime) in enumerate([(5000.0, 100.0), (5020.0 + step, 120.0)]):
        with StoredWindows(path, lambda wall=wall: wall, lambda uptime=uptime: ("boot", uptime)) as kept:  # type: ignore[misc]
            limiter = RateLimiter(lambda uptime=uptime: uptime, kept)  # type: ignore[misc]
            if number == 0:
                assert limiter.take(API) == 0.0
                limiter.settle(API, HEADERS, sent=100.0)
                assert [limiter.take(API) for _ in range(3)] == [0.0] * 3
            else:
                assert limiter.take(API) == 40.0 + SLACK_SECONDS


def test_after_a_reboot_a_clock_that_was_set_back_costs_one_window_at_most(path: Path) -> None:
    with StoredWindows(path, lambda: 1e9, lambda: ("first", 50.0)) as kept:
        kept.write(API, Window(quota=500, seconds=300, left=0, ends_after=10.0, ends=12.0), 0.0)
    with StoredWindows(path, lambda: 0.0, lambda: ("second", 5.0)) as kept:
        assert RateLimiter(lambda: 0.0, kept).take(API) <= 302.0  # type: ignore[operator]


def test_windows_are_passed_to_other_machines_by_the_wall_clock(path: Path) -> None:
    with StoredWindows(path, lambda: 5000.0, lambda: ("boot", 100.0)) as kept:
        kept.write(API, Window(quota=500, seconds=300, left=8, ends_after=60.0, ends=62.0), 0.0)
    with StoredWindows(path, lambda: 9000.0, lambda: ("boot", 110.0)) as kept:
        window = SharedWindows(kept.known(), lambda: 9000.0, 2).read(API, 0.0)
    assert (window.left, window.ends_after, window.ends) == (4, 50.0, 52.0)


def test_credentials_are_not_kept(path: Path) -> None:
    with (
        serving(lambda _: json_reply("[]")) as peer,
        StoredWindows(path, lambda: 0.0) as kept,
        closing(Session(windows=kept)) as session,
    ):
        session.read(peer.base, {"Authorization": "Bearer hf_secret"}, budget="api", what="`it`")
        session.read(peer.base, {}, budget="api", what="`it`")
    with closing(sqlite3.connect(path)) as base:
        found = [credential for (credential,) in base.execute("SELECT credential FROM window ORDER BY credential")]

    assert found == ["", credential_id("Bearer hf_secret")]
    assert b"hf_secret" not in path.read_bytes()


def test_file_of_a_newer_version_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA user_version = 9")

    with pytest.raises(UnsupportedFormat, match="version 9"):
        StoredWindows(path, lambda: 0.0)


def test_damaged_file_is_named_with_what_to_do(path: Path) -> None:
    path.write_bytes(b"no database" * 100)

    with pytest.raises(StoreError, match=r"limits\.sqlite") as caught:
        StoredWindows(path, lambda: 0.0)
    assert "remove that file" in (caught.value.hint or "")


class Counting:
    """A hub with fixed windows, and a client with concurrent requests that is killed now and then.

    Replies take their time both ways and overtake each other; some never come.
    """

    def __init__(self, seed: int, quota: int, window: int, kept: StoredWindows, time: Time) -> None:
        self.draw = random.Random(seed)
        self.quota, self.window, self.kept, self.time = quota, window, kept, time
        self.phase = self.draw.uniform(0, window)
        self.counts: Counter[int] = Counter()
        self.events: list[tuple[float, int, str, float, int]] = []
        self.life = 0
        self.limiter = RateLimiter(time.monotonic, kept)

    def run(self, requests: int) -> None:
        sent = 0
        while sent < requests:
            wait = self.limiter.take(API)
            if wait == 0.0:
                sent += 1
                self.push(self.draw.expovariate(5.0), sent, "arrives", self.time.now, self.life)
            elif wait is not None and not self.events:
                self.time.now += wait
            elif not self.step():
                self.time.now += wait or 0.0
            if self.draw.random() < 0.02:
                self.kill()

    def kill(self) -> None:
        """Requests in flight arrive, but their replies are lost; the next process takes a moment to start."""
        self.life += 1
        again = self.time.now + 2.0
        while self.events and self.events[0][0] <= again:
            self.step()
        self.time.now = max(self.time.now, again)
        self.limiter = RateLimiter(self.time.monotonic, self.kept)

    def push(self, delay: float, number: int, what: str, sent: float, life: int) -> None:
        heapq.heappush(self.events, (self.time.now + delay, number, what, sent, life))

    def step(self) -> bool:
        if not self.events:
            return False
        moment, number, what, sent, life = heapq.heappop(self.events)
        self.time.now = max(self.time.now, moment)
        if what == "arrives":
            index, into = divmod(self.time.now + self.phase, self.window)
            self.counts[int(index)] += 1
            left = self.quota - self.counts[int(index)]
            self.push(self.draw.expovariate(5.0), number, f"{max(left, 0)} {int(self.window - into) + 1}", sent, life)
            return True
        if life == self.life:
            self.reply(what, sent)
        return True

    def reply(self, what: str, sent: float) -> None:
        left, seconds = what.split()
        told = {
            "ratelimit": f'"api";r={left};t={seconds}',
            "ratelimit-policy": f'"fixed window";"api";q={self.quota};w={self.window}',
        }
        self.limiter.settle(API, None if self.draw.random() < 0.05 else told, sent=sent)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(8, 60), st.integers(20, 300))
@example(seed=71086, quota=19, window=20)  # replies lost while the first of a window was in transit
def test_no_request_above_the_quota_of_any_window_is_sent_whatever_is_killed(
    seed: int, quota: int, window: int
) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        time = Time()
        kept = stack.enter_context(StoredWindows(Path(folder) / "limits.sqlite", time.monotonic))
        hub = Counting(seed, quota, window, kept, time)
        hub.run(300)

    assert max(hub.counts.values()) <= quota
