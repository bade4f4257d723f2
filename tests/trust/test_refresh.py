"""Checks the private names of python-tuf that this project uses."""

from datetime import datetime
from pathlib import Path

from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from ptmtorrent.trust.fetcher import ReaderFetcher
from ptmtorrent.trust.fingerprints import read_first_root
from ptmtorrent.trust.keys import Keys
from tests.trust.channels import FolderReader, publish


def test_the_updater_still_has_its_clock_and_targets_in_the_trusted_set(
    channel: Path, keys: Keys, tmp_path: Path
) -> None:
    publish(channel, keys, "r1", 1)
    fetcher = ReaderFetcher(FolderReader(channel))
    updater = Updater(str(tmp_path), "metadata", fetcher=fetcher, bootstrap=read_first_root(channel))
    assert isinstance(updater._trusted_set.reference_time, datetime)
    updater._trusted_set.reference_time = datetime.fromisoformat("2026-11-21T00:00:00+00:00")
    updater.refresh()
    assert isinstance(updater._trusted_set.targets.targets["releases/r1/release.json"], TargetFile)


def test_the_fetcher_also_works_as_a_plain_one(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    fetcher = ReaderFetcher(FolderReader(channel))
    assert b"".join(fetcher.fetch("metadata/1.root.json")) == read_first_root(channel)
