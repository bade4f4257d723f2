"""Creates the sample channel that ships with the program: a release of all packages of the sample hub.

The capture has a fixed time and runs one file after another, so that a rebuild has the same content root. The keys that
sign it are deleted with the working folder: the sample is verified by its content root, which is pinned in the code.
"""

from datetime import UTC, datetime
from pathlib import Path

from ptmtorrent.demo.packages import sample_packages
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.facts.licences import RightsClass
from ptmtorrent.hubs.huggingface.adapter import HuggingFace
from ptmtorrent.model.records import ignore
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.trust.keys import init_keys, load_keys
from ptmtorrent.trust.sample import SAMPLE_RELEASE
from ptmtorrent.workflows.clone.clone import CloneRequest, clone
from ptmtorrent.workflows.publish.publish import publish
from ptmtorrent.workflows.release.release import release

ALL_BUT_GATED: frozenset[RightsClass] = frozenset({"restricted", "unknown"})
"""The sample bytes are part of this project, whatever licence the cards state; one package represents gated ones."""

CAPTURED = datetime(2026, 1, 1, tzinfo=UTC)


def make_sample(workdir: Path, channel: Path) -> Release:
    """Clone the sample hub, release it and publish it into `channel`; keys and all else are kept in `workdir`.

    Raises:
        PtmError: a step failed.
    """
    home = Home(workdir / "home")
    packages = sample_packages()
    with SampleHub(packages) as hub:
        request = CloneRequest(limit=len(packages), jobs=1)
        clone(
            lambda new_session: HuggingFace(hub.endpoint, session=new_session(clock=_clock)),
            request,
            home,
            clock=_clock,
            emit=ignore,
            stop=Stop(),
        )
    init_keys(home.keys, None)
    made = release(
        SAMPLE_RELEASE, home, load_keys(home.keys, lambda: None), clock=_clock, emit=ignore, include=ALL_BUT_GATED
    )
    publish(SAMPLE_RELEASE, home, channel, emit=ignore, clock=_clock)
    return made


def _clock() -> datetime:
    return CAPTURED
