"""What a reader gets after a maintainer verb ended well: an older release, a retired one, renewals years later."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ptmtorrent.channel.readers import LocalReader
from ptmtorrent.disk.durable import write_file
from ptmtorrent.errors import ConfigError, NotFound, PtmError, TrustError, UsageError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import Note, ignore
from ptmtorrent.state.publications import places_of
from ptmtorrent.trust.client import VerifiedRelease, open_fresh
from ptmtorrent.trust.fingerprints import read_first_root
from ptmtorrent.trust.keys import Keys, load_keys
from ptmtorrent.workflows.keys.rotate import Rotation, rotate
from ptmtorrent.workflows.publish.publish import publish
from ptmtorrent.workflows.publish.retire import retire
from ptmtorrent.workflows.release.delete import delete_release
from ptmtorrent.workflows.release.release import release
from ptmtorrent.workflows.renew import renew
from tests.workflows.captured import START, Listener, capture, capture_three, new_home, writing

A, B, C = ReleaseName("a"), ReleaseName("b"), ReleaseName("c")


class Channel:
    """A home with the releases `a` and `b`, a directory to publish to, and a reader that keeps what it saw."""

    def __init__(self, root: Path) -> None:
        self.home, self.keys = new_home(root / "home")
        self.to, self.state, self.now = root / "to", root / "reader", START
        capture_three(self.home, root)
        self.release(A)
        with writing(self.home) as store:
            capture(store, root, "hf:c/new", {"model.safetensors": b"n" * 9000}, downloads=60)
        self.release(B)

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def release(self, name: ReleaseName) -> None:
        release(name, self.home, self.keys, clock=self.clock, emit=ignore)

    def publish(self, name: ReleaseName, to: Path | None = None, emit: Listener | None = None) -> None:
        publish(name, self.home, to or self.to, emit=emit or ignore, load_keys=lambda: self.keys, clock=self.clock)

    def retire(self, name: ReleaseName) -> None:
        retire(name, self.home, self.to, emit=ignore, load_keys=lambda: self.keys, clock=self.clock)

    def read(self, name: ReleaseName | None = None, to: Path | None = None) -> VerifiedRelease:
        reader, root = LocalReader(to or self.to), read_first_root(self.home.channel)
        return open_fresh(reader, root=root, state=self.state, now=self.now, release=name)

    def packs(self) -> set[str]:
        return {path.stem for path in self.to.rglob("*.pack")}


@pytest.fixture
def channel(tmp_path: Path) -> Channel:
    return Channel(tmp_path)


def test_an_older_release_is_published_while_a_newer_one_exists_only_at_home(channel: Channel) -> None:
    channel.publish(A)
    assert channel.read().release.name == A
    with pytest.raises(NotFound, match="no release `b`"):
        channel.read(B)


def test_a_live_channel_survives_a_renewal_and_publication_of_an_older_release(channel: Channel) -> None:
    channel.publish(A)
    before = channel.read().release
    renew(channel.home, channel.keys, clock=channel.clock, emit=ignore)
    channel.publish(A)
    assert channel.read().release == before


def test_the_newer_release_joins_the_older_one_when_it_is_published(channel: Channel) -> None:
    channel.publish(A)
    channel.read()
    channel.publish(B)
    assert [channel.read(name).release.name for name in (None, A, B)] == [B, A, B]


def test_publishing_an_older_release_again_signs_and_moves_nothing(channel: Channel) -> None:
    channel.publish(A)
    before = {path: path.read_bytes() for path in channel.home.channel.rglob("*.json")}
    channel.publish(A)
    assert {path: path.read_bytes() for path in channel.home.channel.rglob("*.json")} == before


def test_versions_rise_from_one_place_to_the_next(channel: Channel) -> None:
    channel.publish(A)
    channel.read()
    assert channel.read(to=channel.home.channel).release.name == B


def test_a_reader_that_saw_a_retired_release_gets_the_one_before(channel: Channel) -> None:
    channel.publish(A)
    channel.publish(B)
    assert channel.read().release.name == B
    channel.retire(B)
    assert channel.read().release.name == A
    with pytest.raises(NotFound):
        channel.read(B)


def test_retiring_deletes_the_packs_that_no_listed_release_needs(channel: Channel) -> None:
    channel.publish(A)
    of_first = channel.packs()
    channel.publish(B)
    assert channel.packs() > of_first
    channel.retire(B)
    assert channel.packs() == of_first
    assert not (channel.to / "releases/b").exists()


def test_a_retired_release_stays_away_when_the_next_one_is_published(channel: Channel) -> None:
    for name in (A, B):
        channel.publish(name)
    channel.retire(A)
    channel.release(C)
    channel.publish(C)
    assert channel.read().release.name == C
    assert sorted(path.parent.name for path in (channel.to / "releases").glob("*/release.json")) == [B, C]


def test_retiring_keeps_the_files_that_a_listed_release_has_in_the_folder(channel: Channel) -> None:
    for name in (A, B):
        channel.publish(name)
    channel.retire(A)
    listed = {ref.path for ref in channel.read().release.listed}
    kept = {
        path.relative_to(channel.to).as_posix() for path in (channel.to / "releases/a").rglob("*") if path.is_file()
    }
    assert kept == {path for path in listed if path.startswith("releases/a/")}
    assert kept
    with pytest.raises(NotFound, match="lists no release"):
        channel.retire(A)


def test_a_release_is_published_with_the_files_of_earlier_ones_alone(channel: Channel) -> None:
    channel.publish(B)
    listed = {ref.path for ref in channel.read().release.listed}
    there = {path.relative_to(channel.to).as_posix() for path in (channel.to / "releases").rglob("*") if path.is_file()}
    assert any(path.startswith("releases/a/") for path in listed)
    assert there == {*listed, "releases/b/release.json", "releases/b/release.json.minisig"}


def test_the_only_release_of_a_place_cannot_be_retired(channel: Channel) -> None:
    channel.publish(A)
    with pytest.raises(UsageError, match="only release"):
        channel.retire(A)


def test_an_interrupted_retirement_is_finished_by_the_same_command(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (A, B):
        channel.publish(name)
    with monkeypatch.context() as patch:
        patch.setattr("ptmtorrent.workflows.publish.retire.remove_release", _crash)
        with pytest.raises(Crash):
            channel.retire(B)
    assert channel.read().release.name == A
    channel.retire(B)
    assert not (channel.to / "releases/b").exists()


class Crash(Exception):
    """Stands for a power cut."""


def _crash(*_: object) -> None:
    raise Crash


def test_a_published_release_is_not_deleted(channel: Channel) -> None:
    channel.publish(B)
    with pytest.raises(ConfigError, match="is published at") as caught:
        delete_release(B, channel.home, channel.keys, clock=channel.clock, emit=ignore)
    assert "--retire b" in (caught.value.hint or "")
    assert channel.read().release.name == B


def test_a_release_deleted_by_mistake_leaves_the_others_and_its_number_unused(channel: Channel) -> None:
    delete_release(B, channel.home, channel.keys, clock=channel.clock, emit=ignore)
    assert channel.read(to=channel.home.channel).release.name == A
    assert not (channel.home.channel / "releases/b").exists()
    channel.release(C)
    assert channel.read(to=channel.home.channel).release.sequence == 3


def test_a_retired_release_can_be_deleted(channel: Channel) -> None:
    for name in (A, B):
        channel.publish(name)
    channel.retire(B)
    assert places_of(channel.home.publications, B) == []
    delete_release(B, channel.home, channel.keys, clock=channel.clock, emit=ignore)
    channel.publish(A)
    assert channel.read().release.name == A


def test_deleting_an_unknown_release_names_near_ones(channel: Channel) -> None:
    with pytest.raises(NotFound, match="no release `aa`") as caught:
        delete_release(ReleaseName("aa"), channel.home, channel.keys, clock=channel.clock, emit=ignore)
    assert "`a`" in (caught.value.hint or "")


@pytest.mark.parametrize("days", [40, 400, 800, 1600])
def test_renewed_years_later_the_channel_is_fetched_from(channel: Channel, days: int) -> None:
    channel.publish(A)
    channel.publish(B)
    channel.read()
    channel.now = START + timedelta(days=days)
    with pytest.raises(TrustError, match="expired"):
        channel.read()
    expires = renew(channel.home, channel.keys, clock=channel.clock, emit=ignore)
    assert set(expires) == {"root", "targets", "snapshot", "timestamp"}
    assert min(expires.values()) > channel.now + timedelta(days=29)
    channel.publish(B)
    assert channel.read().release.name == B


def test_a_root_that_expired_is_not_renewed_without_its_key(channel: Channel) -> None:
    channel.publish(B)
    online = Keys(
        signers={role: signer for role, signer in channel.keys.signers.items() if role != "root"},
        minisign=channel.keys.minisign,
    )
    channel.now = START + timedelta(days=400)
    renew(channel.home, online, clock=channel.clock, emit=ignore)
    channel.publish(B)
    assert channel.read().release.name == B
    channel.now = START + timedelta(days=800)
    with pytest.raises(TrustError, match=r"root of the channel .* expired") as caught:
        renew(channel.home, online, clock=channel.clock, emit=ignore)
    assert "put the root keys back" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        ("metadata/*.targets.json", TrustError),
        ("metadata/*.snapshot.json", TrustError),
        ("releases/b/index/rows.bin", PtmError),
        ("releases/b/release.json", PtmError),
    ],
)
def test_what_a_reader_would_refuse_is_never_pointed_to(
    channel: Channel, monkeypatch: pytest.MonkeyPatch, pattern: str, error: type[PtmError]
) -> None:
    channel.publish(A)
    before = (channel.to / "metadata/timestamp.json").read_bytes()

    from ptmtorrent.workflows.publish import publish as module

    real = module.point_to

    def damage(*args: object, **options: object) -> bool:
        path = max(channel.to.glob(pattern))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.unlink()
        path.write_bytes(bytes(data))
        return real(*args, **options)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(module, "point_to", damage)
    with pytest.raises(error):
        channel.publish(B)
    assert (channel.to / "metadata/timestamp.json").read_bytes() == before


def test_a_pack_that_vanished_from_the_place_is_found_before_the_pointer_moves(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel.publish(A)

    from ptmtorrent.workflows.publish import publish as module

    real = module.point_to

    def lose(*args: object, **options: object) -> bool:
        next(channel.to.rglob("*.pack")).unlink()
        return real(*args, **options)  # type: ignore[arg-type]  # passed through

    before = (channel.to / "metadata/timestamp.json").read_bytes()
    monkeypatch.setattr(module, "point_to", lose)
    with pytest.raises(NotFound, match="cannot fetch"):
        channel.publish(B)
    assert (channel.to / "metadata/timestamp.json").read_bytes() == before


def test_a_place_that_lists_a_release_without_its_files_is_mended_by_publishing(channel: Channel) -> None:
    """Earlier versions pointed to releases that the place does not hold."""
    channel.publish(A)
    channel.publish(B)
    release_json = channel.to / "releases/b/release.json"
    release_json.unlink()
    heard = Listener()
    channel.publish(A, emit=heard)
    assert channel.read().release.name == A
    assert any("does not list `b`" in note.message for note in heard.of(Note) if isinstance(note, Note))


@pytest.mark.parametrize("verb", ["renew", "release", "delete"])
def test_home_points_to_nothing_that_a_reader_misses(channel: Channel, verb: str) -> None:
    """The channel of the home is read like a destination before its timestamp is written."""
    home, keys, clock = channel.home, channel.keys, channel.clock
    (home.channel / "releases/a/release.json").unlink()
    before = (home.channel / "metadata/timestamp.json").read_bytes()
    packs = sorted(home.channel.rglob("*.pack"))
    verbs: dict[str, Callable[[], object]] = {
        "renew": lambda: renew(home, keys, clock=clock, emit=ignore),
        "release": lambda: channel.release(C),
        "delete": lambda: delete_release(B, home, keys, clock=clock, emit=ignore),
    }
    with pytest.raises(NotFound, match=r"cannot fetch|has no release `a`"):
        verbs[verb]()
    assert (home.channel / "metadata/timestamp.json").read_bytes() == before
    assert set(packs) <= set(home.channel.rglob("*.pack"))


def test_a_directory_changes_its_root_after_its_timestamp(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    channel.publish(B)
    channel.read()
    rotate(channel.home, channel.keys, Rotation(role="timestamp"), clock=channel.clock)
    channel.keys = load_keys(channel.home.keys, lambda: None)

    def stop(path: Path, data: bytes, **more: int) -> None:
        if path == channel.to / "metadata" / "2.root.json":
            raise KeyboardInterrupt
        write_file(path, data, **more)

    monkeypatch.setattr("ptmtorrent.disk.durable.write_file", stop)
    with pytest.raises(KeyboardInterrupt):
        channel.publish(B)
    monkeypatch.undo()
    assert not (channel.to / "metadata" / "2.root.json").exists()
    assert channel.read().release.name == B
    channel.publish(B)
    assert (channel.to / "metadata" / "2.root.json").exists()
    assert channel.read().release.name == B
