"""Paths of the home of one user or mirror, and of the sample channel that ships with the program.

::

    home/
      store/          packs, index                 (ptmtorrent.store)
      channel/        our own channel: metadata/, releases/, packs/ (hard links into the store), torrents/
      keys/           private keys, 0600
      listings/       frozen hub listings, each a difference from the one before
      hubs/           state of hub adapters
      spool/          partially downloaded files of a clone
      incoming/       partially downloaded packs of a fetch
      trust/          trusted channels, and the newest metadata seen of each
      journal.sqlite  the clone journal: work done and to do
      limits.sqlite   request limits of hubs
      publications.json  where releases were published
      publishing/     the lock of `publish`
      flags.sqlite    upstream changes of captured packages
      places.sqlite   folders that local packages were captured from
      ledger.sqlite   files that fetches wrote
      verified-files.sqlite  files of channels that were read whole and verified
      release-state.sqlite  what is known of the packages of the newest release; derived
      globus/         tokens (0600) and jobs of Globus transfers
      cluster/        keys and logs of the workers of a clone, while it runs
      hf-cache/       packages in the layout of a Hugging Face cache
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The folders of one home. Nothing is created here: each component creates its folder when it first writes."""

    root: Path

    @property
    def store(self) -> Path:
        """Packs and their index."""
        return self.root / "store"

    @property
    def channel(self) -> Path:
        """Our own channel, ready to be served as it is."""
        return self.root / "channel"

    @property
    def keys(self) -> Path:
        """Private keys."""
        return self.root / "keys"

    @property
    def listings(self) -> Path:
        """Frozen hub listings."""
        return self.root / "listings"

    @property
    def hubs(self) -> Path:
        """State of hub adapters, one folder each."""
        return self.root / "hubs"

    @property
    def spool(self) -> Path:
        """Partially downloaded files of a clone."""
        return self.root / "spool"

    @property
    def incoming(self) -> Path:
        """Partially downloaded packs of a fetch."""
        return self.root / "incoming"

    @property
    def trust(self) -> Path:
        """Trusted channels."""
        return self.root / "trust"

    @property
    def journal(self) -> Path:
        """The clone journal."""
        return self.root / "journal.sqlite"

    @property
    def limits(self) -> Path:
        """Request limits of hubs."""
        return self.root / "limits.sqlite"

    @property
    def flags(self) -> Path:
        """Upstream changes of captured packages."""
        return self.root / "flags.sqlite"

    @property
    def places(self) -> Path:
        """Folders that local packages were captured from."""
        return self.root / "places.sqlite"

    @property
    def publications(self) -> Path:
        """Where releases of the own channel were published."""
        return self.root / "publications.json"

    @property
    def publishing(self) -> Path:
        """The lock that one publication at a time holds."""
        return self.root / "publishing"

    @property
    def ledger(self) -> Path:
        """Files that fetches wrote."""
        return self.root / "ledger.sqlite"

    @property
    def verified_files(self) -> Path:
        """Files of channels that were read whole and verified."""
        return self.root / "verified-files.sqlite"

    @property
    def release_state(self) -> Path:
        """What is known of the packages of the newest release; it is derived and may be deleted."""
        return self.root / "release-state.sqlite"

    @property
    def globus(self) -> Path:
        """Tokens and jobs of Globus transfers."""
        return self.root / "globus"

    @property
    def cluster(self) -> Path:
        """Keys and logs of a cluster's workers."""
        return self.root / "cluster"

    @property
    def hf_cache(self) -> Path:
        """The default destination of `--into hf-cache`."""
        return self.root / "hf-cache"


def sample_channel() -> Path:
    """Return the sample channel: inside the installed package, or at the top of a source checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "manifests" / "sample"
    return installed if installed.is_dir() else package.parent / "manifests" / "sample"
