"""The demo runs all steps and reports them correctly."""

import pytest

from ptmtorrent.demo.package import Package
from ptmtorrent.demo.packages import sample_packages
from ptmtorrent.demo.run import DemoReport, run_demo
from ptmtorrent.model.records import Event, Note


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def report(events: list[Event], tmp_path_factory: pytest.TempPathFactory) -> DemoReport:
    return run_demo(tmp_path_factory.mktemp("demo") / "work", emit=events.append)


@pytest.fixture(scope="module")
def public() -> list[Package]:
    return [package for package in sample_packages() if package.access == "public"]


def test_every_public_package_is_released(report: DemoReport, public: list[Package]) -> None:
    assert report.packages == len(public)
    assert report.files == sum(len(package.files) for package in public)
    assert report.raw == sum(file.content.size for package in public for file in package.files)


def test_stored_is_less_than_raw(report: DemoReport) -> None:
    assert report.stored < report.raw / 1.2


def test_popular_files_were_moved_and_verified(report: DemoReport, public: list[Package]) -> None:
    popular = [package for package in public if (package.downloads or 0) > 50]
    assert report.verified == sum(len(package.files) for package in popular)
    assert 0 < report.moved <= report.stored * 1.15


def test_every_step_is_timed_and_announced(report: DemoReport, events: list[Event]) -> None:
    names = [name for name, _ in report.steps]
    assert names == ["hub", "clone", "keys", "release", "publish", "seed", "trust", "fetch", "verify"]
    assert len([event for event in events if isinstance(event, Note)]) == len(names)
