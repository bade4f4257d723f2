import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.disk.partial import STEP_BYTES, durable_bytes
from ptmtorrent.errors import AuthError, HubError, IntegrityError, Interrupted, NoSpace
from ptmtorrent.hubs.client.download import Download, check_md5, check_no_pointer
from ptmtorrent.hubs.client.session import ATTEMPTS, Session
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.hubs.port import HubFile, Located
from ptmtorrent.model.pointers import Pointer, format_pointer, git_blob_id
from ptmtorrent.stop import Stop
from tests.hubs.peer import Answer, Asked, Peer, Reply, ranged, serving

DATA = random.Random(7).randbytes(STEP_BYTES * 2 + 100)
SHA256 = hashlib.sha256(DATA).hexdigest()


class Run:
    """One download from a peer with scripted replies."""

    def __init__(self, session: Session, part: Path, data: bytes = DATA, *, size: int | None = -1) -> None:
        self.session, self.part = session, part
        self.held = self.moved = self.located = 0
        oid = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.file = HubFile(path="w.bin", size=len(data) if size == -1 else size, oid=oid, source="lfs")
        self.stop = Stop()
        self.peer: Peer

    def count(self, held: int, moved: int) -> None:
        self.held += held
        self.moved += moved

    def locate(self) -> Located:
        self.located += 1
        return Located(url=f"{self.peer.base}/{self.located}", headers={"Authorization": "Bearer x"})

    def against(self, answer: Answer) -> None:
        with serving(answer) as self.peer:
            Download(
                session=self.session,
                locate=self.locate,
                file=self.file,
                what="`hf:a/b` file `w.bin`",
                part=self.part,
                count=self.count,
                stop=self.stop,
            ).run()

    @property
    def ranges(self) -> list[str | None]:
        return [asked.headers.get("range") for asked in self.peer.asked]


@pytest.fixture
def run(session: Session, tmp_path: Path) -> Run:
    return Run(session, tmp_path / "x.part")


def whole(asked: Asked) -> Reply:
    return ranged(DATA, asked)


@given(st.integers(0, 40 << 20))
def test_durable_bytes_are_the_last_boundary_below_the_end(size: int) -> None:
    kept = durable_bytes(size)

    assert kept % STEP_BYTES == 0
    assert kept < size or kept == size == 0
    assert size - kept <= STEP_BYTES


def test_file_is_downloaded_whole(run: Run) -> None:
    run.against(whole)

    assert run.part.read_bytes() == DATA
    assert (run.held, run.moved) == (len(DATA), len(DATA))


def test_empty_file_needs_no_request(session: Session, tmp_path: Path) -> None:
    run = Run(session, tmp_path / "e.part", b"")
    run.against(whole)

    assert run.part.read_bytes() == b""
    assert run.peer.asked == []


@pytest.mark.parametrize("found", [1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, STEP_BYTES * 2 + 99])
def test_part_of_another_process_is_continued_at_what_is_durable(run: Run, found: int) -> None:
    kept = durable_bytes(found)
    run.part.write_bytes(DATA[:kept] + b"?" * (found - kept))
    run.against(whole)

    assert run.part.read_bytes() == DATA
    assert run.ranges == [f"bytes={kept}-" if kept else None]
    assert (run.held, run.moved) == (len(DATA), len(DATA) - kept)


def test_complete_part_is_not_requested_again(run: Run) -> None:
    run.part.write_bytes(DATA)
    run.against(whole)

    assert run.peer.asked == []
    assert (run.held, run.moved) == (len(DATA), 0)


def test_part_longer_than_the_file_is_restarted(run: Run) -> None:
    run.part.write_bytes(DATA + b"more")
    run.against(whole)

    assert run.part.read_bytes() == DATA
    assert run.ranges == [None]


def test_disk_is_synced_at_every_boundary_before_a_byte_beyond_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr("os.fdatasync", lambda _: sizes.append(run.part.stat().st_size))
    run.against(whole)

    assert sizes == [STEP_BYTES, STEP_BYTES * 2]


def test_dropped_connection_is_continued_by_range(run: Run) -> None:
    replies = iter([STEP_BYTES + 5, 10, None])

    def answer(asked: Asked) -> Reply:
        reply = ranged(DATA, asked)
        reply.cut = next(replies)
        return reply

    run.against(answer)

    assert run.part.read_bytes() == DATA
    assert run.moved == len(DATA)
    assert run.ranges[0] is None
    assert all(run.ranges[1:])


@pytest.mark.parametrize("step", [1, 16 << 10, STEP_BYTES + 1])
def test_download_may_break_more_often_than_a_call_may_fail(session: Session, tmp_path: Path, step: int) -> None:
    data = random.Random(1).randbytes(step * (ATTEMPTS + 2))
    run = Run(session, tmp_path / "long.part", data)

    def answer(asked: Asked) -> Reply:
        reply = ranged(data, asked)
        reply.cut = step
        return reply

    run.against(answer)

    assert run.part.read_bytes() == data
    assert len(run.peer.asked) > ATTEMPTS


def test_hub_without_progress_is_given_up(run: Run) -> None:
    def answer(asked: Asked) -> Reply:
        reply = ranged(DATA, asked)
        reply.cut = 0
        return reply

    with pytest.raises(Unreachable):
        run.against(answer)

    assert len(run.peer.asked) == ATTEMPTS


def test_whole_file_in_answer_to_a_range_starts_from_zero(run: Run) -> None:
    run.part.write_bytes(b"?" * (STEP_BYTES + 1))
    run.against(lambda _: Reply(body=DATA))

    assert run.part.read_bytes() == DATA
    assert (run.held, run.moved) == (len(DATA), len(DATA))


def test_refused_range_starts_from_zero_once(run: Run) -> None:
    run.part.write_bytes(b"?" * (STEP_BYTES + 1))
    run.against(lambda asked: Reply(416) if "range" in asked.headers else Reply(body=DATA))

    assert run.part.read_bytes() == DATA
    assert run.ranges == [f"bytes={STEP_BYTES}-", None]


@pytest.mark.parametrize(
    "given", ["bytes 0-99/8388708", f"bytes {STEP_BYTES}-9/9", "bytes */8388708", f"bytes {'9' * 5000}-1/9", "x", ""]
)
def test_wrong_content_range_is_refused(run: Run, given: str) -> None:
    run.part.write_bytes(DATA[: STEP_BYTES + 1])

    with pytest.raises(HubError, match="asked for the bytes from 4194304"):
        run.against(lambda _: Reply(206, DATA[STEP_BYTES:], {"Content-Range": given} if given else {}))

    assert run.part.stat().st_size == STEP_BYTES


def test_longer_file_than_listed_is_refused_without_storing_the_rest(run: Run) -> None:
    with pytest.raises(IntegrityError, match="longer than"):
        run.against(lambda _: Reply(body=DATA + b"x" * STEP_BYTES))

    assert run.part.stat().st_size <= len(DATA)


def test_shorter_file_than_listed_is_refused(run: Run) -> None:
    with pytest.raises(IntegrityError, match=f"{len(DATA) - 1} bytes"):
        run.against(lambda _: Reply(body=DATA[:-1]))


def test_answer_without_a_length_that_ends_early_is_continued(run: Run) -> None:
    def answer(asked: Asked) -> Reply:
        reply = ranged(DATA, asked)
        if "range" not in asked.headers:
            reply.length, reply.cut = False, STEP_BYTES + 3
        return reply

    run.against(answer)

    assert run.part.read_bytes() == DATA


def test_encoded_answer_is_refused(run: Run) -> None:
    with pytest.raises(HubError, match="gzip"):
        run.against(lambda _: Reply(body=DATA, headers={"Content-Encoding": "gzip"}))


@pytest.mark.parametrize("status", [401, 403])
def test_expired_address_is_requested_again_once(run: Run, status: int) -> None:
    run.against(lambda asked: Reply(status) if asked.path == "/1" else ranged(DATA, asked))

    assert run.part.read_bytes() == DATA
    assert run.located == 2


def test_file_that_is_refused_twice_is_refused(run: Run) -> None:
    with pytest.raises(AuthError):
        run.against(lambda _: Reply(403))

    assert run.located == 2


def test_stop_keeps_the_part(run: Run) -> None:
    run.stop.set()

    with pytest.raises(Interrupted):
        run.against(whole)

    assert run.part.exists()


def test_full_disk_is_no_space_and_keeps_the_part(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _data: memoryview) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ptmtorrent.disk.partial.write_all", full)

    with pytest.raises(NoSpace, match=str(len(DATA))):
        run.against(whole)

    assert run.part.exists()


def test_file_of_unknown_size_is_bounded_by_its_content_length(session: Session, tmp_path: Path) -> None:
    run = Run(session, tmp_path / "u.part", size=None)
    run.part.write_bytes(b"left over")
    run.against(whole)

    assert run.part.read_bytes() == DATA


def test_pointer_in_place_of_weights_names_what_is_missing(run: Run) -> None:
    pointer = format_pointer(Pointer(sha256=SHA256, size=len(DATA)))

    with pytest.raises(IntegrityError, match=f"git LFS pointer.*{len(DATA)} bytes of `sha256:{SHA256}` are missing"):
        run.against(lambda _: Reply(body=pointer))


def test_pointer_listed_as_a_plain_file_is_refused(tmp_path: Path) -> None:
    data = format_pointer(Pointer(sha256=SHA256, size=5))
    part = tmp_path / "p.part"
    part.write_bytes(data)
    file = HubFile(path="w.bin", size=len(data), oid=f"git:{git_blob_id(data)}", source="git")

    with pytest.raises(IntegrityError, match=SHA256):
        check_no_pointer(file, part, "`w.bin`")


def test_lfs_file_that_is_itself_a_pointer_text_is_kept(tmp_path: Path) -> None:
    data = format_pointer(Pointer(sha256=SHA256, size=5))
    part = tmp_path / "p.part"
    part.write_bytes(data)
    oid = f"sha256:{hashlib.sha256(data).hexdigest()}"

    check_no_pointer(HubFile(path="w.bin", size=len(data), oid=oid, source="lfs"), part, "`w.bin`")

    assert part.read_bytes() == data


def test_hub_that_refuses_every_byte_is_a_hub_error(run: Run) -> None:
    run.part.write_bytes(DATA[: STEP_BYTES + 1])
    with pytest.raises(HubError, match="the hub refuses to send any byte of it"):
        run.against(lambda _: Reply(416))

    assert run.ranges == [f"bytes={STEP_BYTES}-", None]
    assert run.part.read_bytes() == b""


@pytest.mark.parametrize("length", [False, True])
def test_file_of_a_length_that_nothing_states_is_refused(session: Session, tmp_path: Path, *, length: bool) -> None:
    run = Run(session, tmp_path / "u.part", size=None)
    if length:
        run.against(whole)
        return
    with pytest.raises(HubError, match="neither the listing nor the reply of the hub states its length"):
        run.against(lambda _: Reply(body=DATA, length=False))
    assert run.part.read_bytes() == b""


@pytest.mark.parametrize(("name", "refused"), [("w.bin", True), ("w.safetensors", True), ("README.md", False)])
def test_weights_that_resemble_a_pointer_are_refused(tmp_path: Path, name: str, *, refused: bool) -> None:
    data = format_pointer(Pointer(sha256=SHA256, size=5)).replace(b"spec/v1", b"spec/v9")
    part = tmp_path / "p.part"
    part.write_bytes(data)
    file = HubFile(path=name, size=len(data), oid=None, source="url")

    if not refused:
        check_no_pointer(file, part, f"`{name}`")
        return
    with pytest.raises(IntegrityError, match=f"`{name}` resembles a git LFS pointer"):
        check_no_pointer(file, part, f"`{name}`")


@pytest.mark.parametrize(
    ("oid", "checked"), [(None, False), ("sha256:x", False), ("md5:900150983cd24fb0d6963f7d28e17f72", True)]
)
def test_md5_is_checked_where_the_hub_lists_one(tmp_path: Path, oid: str | None, *, checked: bool) -> None:
    part = tmp_path / "p.part"
    part.write_bytes(b"abc")
    assert check_md5(HubFile(path="a", size=3, oid=oid, source="url"), part) is checked
    part.write_bytes(b"abd")
    if checked:
        with pytest.raises(IntegrityError, match=r"`a` has the hash `md5:.*`, but the hub lists `md5:9001"):
            check_md5(HubFile(path="a", size=3, oid=oid, source="url"), part)
