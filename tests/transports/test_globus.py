"""Globus without a service: places, the journal, the wait, and what becomes of packs that land."""

from pathlib import Path
from threading import Event

import pytest

from ptmtorrent.errors import AuthError, ConfigError, StoreError, TransportError, UsageError
from ptmtorrent.transports.globus_carrying import carry
from ptmtorrent.transports.globus_jobs import Job, Jobs
from ptmtorrent.transports.globus_places import GlobusHere, is_globus, parse_here, parse_place
from ptmtorrent.transports.port import Delivered, Failed
from tests.transports.globus_copies import HERE, THERE, Copies, copying_desk, copying_transport, status
from tests.transports.requests import PIECE, read_delivered, whole, write_pack


def plan(jobs: Jobs) -> Job:
    return jobs.plan(
        "fetch", source=f"globus:{THERE}", destination=f"globus:{HERE}", files=[("a", 1, "/a")], landing="/in"
    )


class TestPlaces:
    @pytest.mark.parametrize(
        "text", [f"globus:{THERE}/a/b", f"globus:{THERE}@g-1.data.globus.org/a", f"globus:{THERE}"]
    )
    def test_a_place_is_read_and_spelled_alike(self, text: str) -> None:
        assert is_globus(text)
        assert parse_place(text).location == text

    @pytest.mark.parametrize(
        "text",
        [
            *(
                "globus:",
                "globus:me/a",
                f"globus:{THERE}/a/../b",
                f"globus:{THERE}//a",
                "x:/y",
                f"globus:{THERE}/a\x1bb",
            ),
            *(
                f"globus:{THERE}@{host}/a"
                for host in ("", "a..b", "-a", "a:0", "a:65536", "me@a", "a?b", "a\n", "[::1]")
            ),
        ],
    )
    def test_what_is_no_place_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            parse_place(text)

    def test_a_server_has_one_spelling(self) -> None:
        assert parse_place(f"globus:{THERE}@G-1.Data.example:443/a").location == f"globus:{THERE}@g-1.data.example/a"

    def test_what_the_collection_does_not_show_is_refused(self) -> None:
        here = parse_here(f"{HERE}:/data")
        assert here.path_of(Path("/data/home/x")) == "/home/x"
        with pytest.raises(ConfigError, match="does not show"):
            here.path_of(Path("/data/../etc"))
        assert isinstance(here, GlobusHere)


class TestJournal:
    def test_a_job_is_kept_and_found_while_it_is_open(self, tmp_path: Path) -> None:
        jobs = Jobs(tmp_path / "jobs")
        job = plan(jobs)
        assert jobs.open("fetch", job.source, job.destination) == [job]
        assert jobs.open("publish", job.source, job.destination) == []

    def test_a_damaged_job_is_not_passed_over(self, tmp_path: Path) -> None:
        jobs = Jobs(tmp_path / "jobs")
        job = plan(jobs)
        (tmp_path / "jobs" / f"{job.job}.json").write_bytes(b"{}")
        with pytest.raises(StoreError, match="damaged"):
            jobs.all()

    def test_the_document_is_on_the_disk_when_it_is_posted(self, tmp_path: Path) -> None:
        jobs = Jobs(tmp_path / "jobs")
        kept: list[Job] = []

        class Looking(Copies):
            def submit(self, document: dict[str, object]) -> str:
                kept.extend(jobs.all())
                return super().submit(document)

        service = Looking(tmp_path / "a", tmp_path / "b")
        carry(plan(jobs), copying_desk(service, tmp_path / "jobs"), Event())

        assert [(job.state, job.document) for job in kept] == [("prepared", service.posted[0])]

    def test_what_is_posted_has_checksums_and_mails_nobody(self, tmp_path: Path) -> None:
        service = Copies(tmp_path / "a", tmp_path / "b")
        carry(plan(Jobs(tmp_path)), copying_desk(service, tmp_path), Event())
        [document] = service.posted
        assert document["verify_checksum"] is True
        assert document["sync_level"] == 3
        assert not any(document[f"notify_on_{word}"] for word in ("succeeded", "failed", "inactive"))


class TestWaiting:
    def carried(self, tmp_path: Path, *answers: object) -> tuple[Job, Copies]:
        service = Copies(tmp_path / "a", tmp_path / "b", answers)  # type: ignore[arg-type]  # of the test
        return carry(plan(Jobs(tmp_path)), copying_desk(service, tmp_path), Event()), service

    def test_success_alone_is_landed(self, tmp_path: Path) -> None:
        assert self.carried(tmp_path, status())[0].state == "landed"

    def test_a_failed_task_says_why(self, tmp_path: Path) -> None:
        job, _ = self.carried(tmp_path, status("FAILED", fatal="QUOTA: full"))
        assert (job.state, job.reason) == ("failed", "QUOTA: full; of task-1")

    def test_an_inactive_task_asks_for_a_login_and_is_kept(self, tmp_path: Path) -> None:
        with pytest.raises(AuthError, match="waits for you"):
            self.carried(tmp_path, status("INACTIVE"))
        assert [job.state for job in Jobs(tmp_path).all()] == ["paused"]

    def test_faults_are_no_progress_and_end_in_a_cancel(self, tmp_path: Path) -> None:
        job, service = self.carried(tmp_path, *(status(nice="busy", faults=number) for number in range(99)))
        assert (job.state, service.cancelled) == ("cancelled", ["task-1"])
        assert "busy" in job.reason

    def test_progress_is_waited_for_however_long(self, tmp_path: Path) -> None:
        job, service = self.carried(tmp_path, *(status(bytes=number) for number in range(99)))
        assert (job.state, service.cancelled) == ("landed", [])

    def test_a_paused_task_is_not_cancelled(self, tmp_path: Path) -> None:
        with pytest.raises(TransportError, match="administrator"):
            self.carried(tmp_path, *[status(paused=True)] * 99)
        assert [job.state for job in Jobs(tmp_path).all()] == ["paused"]


class TestPacks:
    def test_batches_are_no_longer_than_they_may_be(self, tmp_path: Path) -> None:
        packs = [write_pack(tmp_path / "a", PIECE, seed) for seed in range(5)]
        service = Copies(tmp_path / "a", tmp_path / "b")
        transport = copying_transport(tmp_path / "a", tmp_path / "b", service, most_items=2)
        outcomes = list(transport.deliver([whole(*pack) for pack in packs], tmp_path / "staging", Event()))
        assert [len(document["DATA"]) for document in service.posted] == [2, 2, 1]
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)

    def test_a_pack_of_the_right_size_with_a_hole_is_refused_alone(self, tmp_path: Path) -> None:
        good, bad = write_pack(tmp_path / "a", PIECE, 1), write_pack(tmp_path / "a", PIECE, 2)
        path = next((tmp_path / "a").rglob(f"{bad[0]}.pack"))
        path.write_bytes(bad[1][:4096] + bytes(4096) + bad[1][8192:])
        transport = copying_transport(tmp_path / "a", tmp_path / "b")
        outcomes = {type(one): one for one in transport.deliver([whole(*good), whole(*bad)], tmp_path / "s", Event())}
        delivered = outcomes[Delivered]
        assert isinstance(delivered, Delivered)
        assert read_delivered(delivered) == good[1]
        assert outcomes[Failed].request.pack == bad[0]
        assert not list((tmp_path / "s").glob(f"{bad[0]}*"))

    def test_nothing_of_a_failed_task_is_used_or_left(self, tmp_path: Path) -> None:
        pack = write_pack(tmp_path / "a", PIECE)
        service = Copies(tmp_path / "a", tmp_path / "b", [status("FAILED")])
        transport = copying_transport(tmp_path / "a", tmp_path / "b", service)
        [outcome] = transport.deliver([whole(*pack)], tmp_path / "s", Event())
        assert isinstance(outcome, Failed)
        assert not list((tmp_path / "b").rglob("*.pack"))


def test_the_secret_is_in_no_repr() -> None:
    from ptmtorrent.transports.globus_places import GlobusAccess

    access = GlobusAccess(folder=Path("/x"), client_id="id", client_secret="hidden", here=None, patience=1)  # noqa: S106
    assert "hidden" not in repr(access)
