from collections.abc import Iterator

import pytest

from ptmtorrent.demo.packages import sample_packages
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.paths import Home
from tests.workflows.cloning import Run


@pytest.fixture
def run(home: Home) -> Run:
    return Run(home)


@pytest.fixture(scope="module")
def sample() -> Iterator[SampleHub]:
    with SampleHub(sample_packages()) as hub:
        yield hub
