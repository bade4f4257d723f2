"""Globus without a service: locations, the journal, the wait, and landed packs."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ptmtorrent.errors import (
    AuthError,
    ConfigError,
    Interrupted,
    NotFound,
    PtmError,
    StoreError,
    TransportError,
    UnsupportedFormat,
    UsageError,
)
from ptmtorrent.model.locations import GlobusLocation, parse_globus, parse_location
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.causes import NotPermitted, explain
from ptmtorrent.transports.globus.jobs import Job, Jobs
from ptmtorrent.transports.globus.locations import LocalCollection, parse_local_collection
from ptmtorrent.transports.globus.run_job import DEADLINE, run_job
from ptmtorrent.transports.globus.service import Rejected, TaskStatus
from ptmtorrent.transports.port import Delivered, Failed
from tests.transports.globus.copies import HERE, THERE, Copies, copying_context, copying_transport, status
from tests.transports.requests import PIECE, read_delivered, whole, write_pack

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def stopped() -> Stop:
    """A stop that is set during the first pause."""

    class Later(Stop):
        def __init__(self) -> None:
            super().__init__()
            self._asked = 0

        def is_set(self) -> bool:
            self._asked += 1
            return self._asked > 2

    return Later()


def plan(jobs: Jobs) -> Job:
    return jobs.plan(
        "fetch", source=f"globus:{THERE}", destination=f"globus:{HERE}", files=[("a", 1, "/a")], landing="/in"
    )


class TestPlaces:
    @pytest.mark.parametrize(
        "text", [f"globus:{THERE}/a/b", f"globus:{THERE}@g-1.data.globus.org/a", f"globus:{THERE}"]
    )
    def test_a_location_is_parsed_and_spelled_alike(self, text: str) -> None:
        place = parse_location(text)
        assert isinstance(place, GlobusLocation)
        assert place.location == text

    @pytest.mark.parametrize("text", [f"{THERE}:/a/b", f"globus:{THERE}:/a/b", f"{THERE.upper()}:/a/b/"])
    def test_a_location_as_globus_cli_writes_it_is_understood(self, text: str) -> None:
        assert parse_location(text).location == f"globus:{THERE}/a/b"

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
    def test_an_invalid_location_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            parse_globus(text)

    def test_a_server_has_one_spelling(self) -> None:
        assert parse_globus(f"globus:{THERE}@G-1.Data.example:443/a").location == f"globus:{THERE}@g-1.data.example/a"

    def test_what_the_collection_does_not_show_is_refused(self) -> None:
        here = parse_local_collection(f"{HERE}:/data")
        assert here.path_of(Path("/data/home/x")) == "/home/x"
        with pytest.raises(ConfigError, match="does not show"):
            here.path_of(Path("/data/../etc"))
        assert isinstance(here, LocalCollection)


class TestJournal:
    def test_a_job_is_kept_and_found_while_it_is_open(self, tmp_path: Path) -> None:
        jobs = Jobs(tmp_path / "jobs")
        job = plan(jobs)
        assert jobs.open("fetch", job.source, job.destination) == [job]
        assert jobs.open("publish", job.source, job.destination) == []

    def test_a_damaged_job_is_an_error(self, tmp_path: Path) -> None:
        jobs = Jobs(tmp_path / "jobs")
        job = plan(jobs)
        (tmp_path / "jobs" / f"{job.job}.json").write_bytes(b"{}")
        with pytest.raises(StoreError, match="damaged"):
            jobs.all()

    def test_a_truncated_job_is_damaged(self, tmp_path: Path) -> None:
        job = plan(Jobs(tmp_path))
        path = tmp_path / f"{job.job}.json"
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(StoreError, match="damaged") as caught:
            Jobs(tmp_path).all()
        assert caught.value.hint is not None
        assert f"remove `{path}`" in caught.value.hint

    def test_a_job_of_a_newer_version_is_left_to_it(self, tmp_path: Path) -> None:
        job = plan(Jobs(tmp_path))
        path = tmp_path / f"{job.job}.json"
        path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2'))
        with pytest.raises(UnsupportedFormat, match="version 2"):
            Jobs(tmp_path).all()

    def test_a_job_under_the_name_of_another_is_damaged(self, tmp_path: Path) -> None:
        job = plan(Jobs(tmp_path))
        (tmp_path / f"{job.job}.json").rename(tmp_path / "0123456789abcdef.json")
        with pytest.raises(StoreError, match="damaged"):
            Jobs(tmp_path).all()

    @pytest.mark.parametrize("landing", ["/home/x/a", "/in/{job}/../../a", "/in/{job}/b"])
    def test_a_job_that_lands_outside_its_folder_is_damaged(self, tmp_path: Path, landing: str) -> None:
        jobs = Jobs(tmp_path)
        job = plan(jobs)
        item = msgspec.structs.replace(job.items[0], landing=landing.format(job=job.job))
        jobs.save(msgspec.structs.replace(job, items=(item,)))
        with pytest.raises(StoreError, match="damaged"):
            jobs.all()

    def test_a_job_is_found_however_the_channel_is_named(self) -> None:
        assert parse_globus(f"globus:{THERE}@a.b/c").folder == parse_globus(f"globus:{THERE}/c").folder

    def test_two_homes_do_not_land_in_one_folder(self, tmp_path: Path) -> None:
        assert plan(Jobs(tmp_path / "a")).items != plan(Jobs(tmp_path / "b")).items

    def test_the_document_is_on_the_disk_when_it_is_posted(self, tmp_path: Path) -> None:
        jobs = Jobs(tmp_path / "jobs")
        kept: list[Job] = []

        class Looking(Copies):
            def submit(self, document: dict[str, object]) -> str:
                kept.extend(jobs.all())
                return super().submit(document)

        service = Looking(tmp_path / "a", tmp_path / "b")
        run_job(plan(jobs), copying_context(service, tmp_path / "jobs"), Stop())

        assert [(job.state, job.document) for job in kept] == [("prepared", service.posted[0])]

    def test_the_document_then_its_name_are_synced_before_the_post(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs = tmp_path / "jobs"
        synced: list[int] = []
        fsync = os.fsync

        def record(descriptor: int) -> None:
            fsync(descriptor)
            synced.append(os.fstat(descriptor).st_ino)

        class Asking(Copies):
            def submit(self, document: dict[str, Any]) -> str:
                [journal] = jobs.glob("*.json")
                before.extend([synced[-2:], [journal.stat().st_ino, jobs.stat().st_ino]])
                return super().submit(document)

        before: list[list[int]] = []
        job = plan(Jobs(jobs))
        monkeypatch.setattr(os, "fsync", record)
        run_job(job, copying_context(Asking(tmp_path / "a", tmp_path / "b"), jobs), Stop())

        [last_synced, journal_and_folder] = before
        assert last_synced == journal_and_folder

    def test_the_document_has_checksums_and_no_notification_mails(self, tmp_path: Path) -> None:
        service = Copies(tmp_path / "a", tmp_path / "b")
        run_job(plan(Jobs(tmp_path)), copying_context(service, tmp_path), Stop())
        [document] = service.posted
        assert document["verify_checksum"] is True
        assert document["sync_level"] == 3
        assert not any(document[f"notify_on_{word}"] for word in ("succeeded", "failed", "inactive"))


class TestWaiting:
    def carried(self, tmp_path: Path, *answers: object) -> tuple[Job, Copies]:
        service = Copies(tmp_path / "a", tmp_path / "b", answers)  # type: ignore[arg-type]  # of the test
        return run_job(plan(Jobs(tmp_path)), copying_context(service, tmp_path), Stop()), service

    def test_only_success_is_landed(self, tmp_path: Path) -> None:
        assert self.carried(tmp_path, status())[0].state == "landed"

    def test_a_failed_task_says_why(self, tmp_path: Path) -> None:
        job, _ = self.carried(tmp_path, status("FAILED", fatal="QUOTA: full"))
        assert (job.state, job.reason) == (
            "failed",
            "the disk quota at the destination is used up (QUOTA: full); of task-1",
        )

    def test_an_inactive_task_asks_for_a_login_and_is_kept(self, tmp_path: Path) -> None:
        with pytest.raises(AuthError, match="waits for a login"):
            self.carried(tmp_path, status("INACTIVE"))
        assert [job.state for job in Jobs(tmp_path).all()] == ["paused"]

    def test_faults_do_not_count_as_progress_and_end_in_a_cancel(self, tmp_path: Path) -> None:
        job, service = self.carried(tmp_path, *(status(nice="busy", faults=number) for number in range(99)))
        assert (job.state, service.cancelled) == ("cancelled", ["task-1"])
        assert "busy" in job.reason

    def test_a_task_without_progress_is_cancelled_after_the_stall_time(self, tmp_path: Path) -> None:
        job, service = self.carried(tmp_path, *[status(bytes=7)] * 99)
        assert (job.state, service.cancelled) == ("cancelled", ["task-1"])
        assert "no progress for 10 seconds" in job.reason

    def test_stopping_reports_the_running_task_and_how_to_cancel_it(self, tmp_path: Path) -> None:
        said: list[str] = []
        service = Copies(tmp_path / "a", tmp_path / "b", [status()] * 99)
        stop = Stop()
        stop.set()

        job = run_job(plan(Jobs(tmp_path)), copying_context(service, tmp_path, said.append), stop)

        assert (job.state, service.cancelled) == ("active", [])
        assert "task `task-1` was submitted: 1 file" in said[0]
        assert "globus task cancel task-1" in said[1]

    def test_stopping_a_query_of_the_task_reports_it_too(self, tmp_path: Path) -> None:
        class Stopped(Copies):
            def task(self, task: str) -> TaskStatus:
                raise Interrupted(f"asking for {task}")

        said: list[str] = []
        service = Stopped(tmp_path / "a", tmp_path / "b")
        job = run_job(plan(Jobs(tmp_path)), copying_context(service, tmp_path, said.append), Stop())

        assert job.state == "submitted"
        assert "globus task cancel task-1" in said[1]

    def test_progress_is_waited_for_however_long(self, tmp_path: Path) -> None:
        job, service = self.carried(tmp_path, *(status(bytes=number) for number in range(99)))
        assert (job.state, service.cancelled) == ("landed", [])

    def test_bytes_sent_again_do_not_count_as_progress(self, tmp_path: Path) -> None:
        job, service = self.carried(tmp_path, *(status(bytes=9 - number % 9) for number in range(99)))
        assert (job.state, service.cancelled) == ("cancelled", ["task-1"])

    def test_a_task_unknown_to_the_service_ends_its_job(self, tmp_path: Path) -> None:
        class Forgetful(Copies):
            def task(self, task: str) -> TaskStatus:
                raise NotFound(f"there is no {task}")

        service = Forgetful(tmp_path / "a", tmp_path / "b")
        assert run_job(plan(Jobs(tmp_path)), copying_context(service, tmp_path), Stop()).state == "failed"

    @pytest.mark.parametrize("error", [Rejected("no"), NotFound("no such collection")])
    def test_a_rejected_document_is_not_posted_again(self, tmp_path: Path, error: PtmError) -> None:
        class Refusing(Copies):
            def submit(self, document: dict[str, Any]) -> str:  # noqa: ARG002  # whatever it is
                raise error

        service = Refusing(tmp_path / "a", tmp_path / "b")
        job = run_job(plan(Jobs(tmp_path)), copying_context(service, tmp_path), Stop())
        assert (job.state, job.reason) == ("failed", error.message)

    def test_a_submission_whose_deadline_has_passed_is_not_posted(self, tmp_path: Path) -> None:
        service = Copies(tmp_path / "a", tmp_path / "b")
        context = copying_context(service, tmp_path)
        moments = iter((NOW, NOW + DEADLINE + timedelta(seconds=1)))
        job = run_job(plan(Jobs(tmp_path)), msgspec.structs.replace(context, clock=lambda: next(moments)), Stop())
        assert (job.state, service.posted) == ("failed", [])

    def test_a_paused_task_is_not_cancelled(self, tmp_path: Path) -> None:
        with pytest.raises(TransportError, match="administrator"):
            self.carried(tmp_path, *[status(paused=True)] * 99)
        assert [job.state for job in Jobs(tmp_path).all()] == ["paused"]


class TestLanding:
    def test_a_collection_that_shows_another_folder_moves_nothing(self, tmp_path: Path) -> None:
        pack = write_pack(tmp_path / "a", PIECE)
        service = Copies(tmp_path / "a", tmp_path / "elsewhere")
        transport = copying_transport(tmp_path / "a", tmp_path / "b", service)

        with pytest.raises(ConfigError, match="globus_here") as caught:
            list(transport.deliver([whole(*pack)], tmp_path / "s", Stop()))

        assert str(tmp_path / "b" / ".ptm-incoming") in caught.value.message
        assert (service.posted, service.deleted) == ([], ["/.ptm-incoming"])
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_folder_of_others_is_kept_where_nothing_appears(self, tmp_path: Path) -> None:
        pack = write_pack(tmp_path / "a", PIECE)
        kept = tmp_path / "elsewhere/.ptm-incoming/0123456789abcdef"
        kept.mkdir(parents=True)
        service = Copies(tmp_path / "a", tmp_path / "elsewhere")

        with pytest.raises(ConfigError):
            list(
                copying_transport(tmp_path / "a", tmp_path / "b", service).deliver(
                    [whole(*pack)], tmp_path / "s", Stop()
                )
            )

        assert list(kept.parent.iterdir()) == [kept]

    def test_a_success_of_which_nothing_is_here_says_what_was_looked_for(self, tmp_path: Path) -> None:
        pack = write_pack(tmp_path / "a", PIECE)

        class Losing(Copies):
            def submit(self, document: dict[str, Any]) -> str:
                task = super().submit(document)
                shutil.rmtree(tmp_path / "b/.ptm-incoming")
                return task

        service = Losing(tmp_path / "a", tmp_path / "b")
        with pytest.raises(ConfigError, match="succeeded, but nothing of it is on this machine") as caught:
            list(
                copying_transport(tmp_path / "a", tmp_path / "b", service).deliver(
                    [whole(*pack)], tmp_path / "s", Stop()
                )
            )

        [job] = Jobs(tmp_path / "b" / "jobs").all()
        assert f"`globus_here` is `{HERE}:{tmp_path / 'b'}`" in caught.value.message
        assert str(tmp_path / "b" / job.items[0].landing.lstrip("/")) in caught.value.message
        assert (job.state, service.deleted) == ("failed", [f"/.ptm-incoming/{job.job}"])

    def test_a_refused_submission_leaves_no_folder(self, tmp_path: Path) -> None:
        pack = write_pack(tmp_path / "a", PIECE)

        class Refusing(Copies):
            def submit(self, document: dict[str, Any]) -> str:  # noqa: ARG002  # whatever it is
                raise NotPermitted("no rule")

        service = Refusing(tmp_path / "a", tmp_path / "b")
        with pytest.raises(NotPermitted):
            list(
                copying_transport(tmp_path / "a", tmp_path / "b", service).deliver(
                    [whole(*pack)], tmp_path / "s", Stop()
                )
            )
        assert not (tmp_path / "b/.ptm-incoming").exists()


@pytest.mark.parametrize(
    ("report", "cause"),
    [
        ("QUOTA_EXCEEDED: x", "quota"),
        ("CANCELED: by admin", "was cancelled"),
        ("PERMISSION_DENIED: x", "does not permit your identity"),
        ("FILE_NOT_FOUND: x", "does not exist at the source"),
    ],
)
def test_a_report_is_explained(report: str, cause: str) -> None:
    assert cause in explain(report)
    assert report in explain(report)


class TestPacks:
    def test_batches_are_no_longer_than_they_may_be(self, tmp_path: Path) -> None:
        packs = [write_pack(tmp_path / "a", PIECE, seed) for seed in range(5)]
        service = Copies(tmp_path / "a", tmp_path / "b")
        transport = copying_transport(tmp_path / "a", tmp_path / "b", service, max_items=2)
        outcomes = list(transport.deliver([whole(*pack) for pack in packs], tmp_path / "staging", Stop()))
        assert [len(document["DATA"]) for document in service.posted] == [2, 2, 1]
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)

    def test_only_a_pack_of_the_right_size_with_a_hole_is_refused(self, tmp_path: Path) -> None:
        good, bad = write_pack(tmp_path / "a", PIECE, 1), write_pack(tmp_path / "a", PIECE, 2)
        path = next((tmp_path / "a").rglob(f"{bad[0]}.pack"))
        path.write_bytes(bad[1][:4096] + bytes(4096) + bad[1][8192:])
        transport = copying_transport(tmp_path / "a", tmp_path / "b")
        outcomes = {type(one): one for one in transport.deliver([whole(*good), whole(*bad)], tmp_path / "s", Stop())}
        delivered = outcomes[Delivered]
        assert isinstance(delivered, Delivered)
        assert read_delivered(delivered) == good[1]
        assert outcomes[Failed].request.pack == bad[0]
        assert not list((tmp_path / "s").glob(f"{bad[0]}*"))

    def test_nothing_of_a_failed_task_is_used_or_left(self, tmp_path: Path) -> None:
        pack = write_pack(tmp_path / "a", PIECE)
        service = Copies(tmp_path / "a", tmp_path / "b", [status("FAILED")])
        transport = copying_transport(tmp_path / "a", tmp_path / "b", service)
        [outcome] = transport.deliver([whole(*pack)], tmp_path / "s", Stop())
        assert isinstance(outcome, Failed)
        assert not list((tmp_path / "b").rglob("*.pack"))

    def test_a_job_without_requested_packs_is_not_waited_for(self, tmp_path: Path) -> None:
        old, new = write_pack(tmp_path / "a", PIECE, 1), write_pack(tmp_path / "a", PIECE, 2)
        busy = Copies(tmp_path / "a", tmp_path / "b", [status()] * 99)
        list(copying_transport(tmp_path / "a", tmp_path / "b", busy).deliver([whole(*old)], tmp_path / "s", stopped()))
        [before] = Jobs(tmp_path / "b" / "jobs").all()
        busy.answers[1:] = [status(), status("SUCCEEDED")]

        [outcome] = copying_transport(tmp_path / "a", tmp_path / "b", busy).deliver(
            [whole(*new)], tmp_path / "s", Stop()
        )

        assert isinstance(outcome, Delivered)
        assert before in Jobs(tmp_path / "b" / "jobs").all()

    @pytest.mark.parametrize("linked", [".ptm-incoming", ".ptm-incoming/{job}", ".ptm-incoming/{job}/packs"])
    def test_packs_do_not_land_where_a_link_leads(self, tmp_path: Path, linked: str) -> None:
        pack = write_pack(tmp_path / "a", PIECE)
        (tmp_path / "elsewhere").mkdir()
        kept = tmp_path / "elsewhere" / "kept"
        kept.write_bytes(b"of another")

        class Linking(Copies):
            def submit(self, document: dict[str, Any]) -> str:
                number = document["DATA"][0]["destination_path"].split("/")[2]
                shutil.rmtree(tmp_path / "b" / ".ptm-incoming")
                link = tmp_path / "b" / linked.format(job=number)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(tmp_path / "elsewhere")
                return super().submit(document)

        (tmp_path / "b").mkdir()
        service = Linking(tmp_path / "a", tmp_path / "b")
        with pytest.raises(StoreError, match="is a link"):
            list(
                copying_transport(tmp_path / "a", tmp_path / "b", service).deliver(
                    [whole(*pack)], tmp_path / "s", Stop()
                )
            )
        assert kept.read_bytes() == b"of another"
        assert not list((tmp_path / "s").glob("*"))

    def test_a_pipe_in_the_place_of_a_pack_is_not_waited_for(self, tmp_path: Path) -> None:
        pack = write_pack(tmp_path / "a", PIECE)

        class Piping(Copies):
            def submit(self, document: dict[str, Any]) -> str:
                landing = tmp_path / "b" / document["DATA"][0]["destination_path"].lstrip("/")
                landing.parent.mkdir(parents=True)
                os.mkfifo(landing)
                self.posted.append(document)
                return "task-1"

        service = Piping(tmp_path / "a", tmp_path / "b")
        [outcome] = copying_transport(tmp_path / "a", tmp_path / "b", service).deliver(
            [whole(*pack)], tmp_path / "s", Stop()
        )
        assert isinstance(outcome, Failed)


def test_the_secret_is_in_no_repr() -> None:
    from ptmtorrent.transports.globus.locations import GlobusAccess

    access = GlobusAccess(folder=Path("/x"), client_id="id", client_secret="hidden", here=None, patience=1)  # noqa: S106
    assert "hidden" not in repr(access)
