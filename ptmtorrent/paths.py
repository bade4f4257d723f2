"""Where things lie: the home of one user or mirror, and the sample channel that ships with the program.

::

    home/
      store/          packs, index                 (ptmtorrent.store)
      channel/        our own channel: metadata/, releases/, packs/ (hard links into the store), torrents/
      keys/           private keys, 0600
      listings/       frozen hub listings
      hubs/           what adapters keep for themselves
      spool/          half-downloaded files of a clone
      incoming/       half-downloaded packs of a fetch
      trust/          channels we trust, and the newest metadata seen of each
      journal.sqlite  what a clone has done and has yet to do
      limits.sqlite   what is known of the request limits of hubs
      flags.sqlite    what became of captured packages on their hubs
      ledger.sqlite   what a fetch laid out where
      globus/         tokens (0600) and jobs of Globus transfers
      cluster/        keys and logs of the workers of a clone, while it runs
      hf-cache/       packages laid out as a Hugging Face cache
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The folders of one home. Nothing is created here; whoever writes first makes its own folder."""

    root: Path

    @property
    def store(self) -> Path:
        """Packs and their index."""
        return self.root / "store"

    @property
    def channel(self) -> Path:
        """Our own channel, ready to be served as it lies."""
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
        """What adapters keep for themselves, a folder each."""
        return self.root / "hubs"

    @property
    def spool(self) -> Path:
        """Half-downloaded files of a clone."""
        return self.root / "spool"

    @property
    def incoming(self) -> Path:
        """Half-downloaded packs of a fetch."""
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
        """What is known of the request limits of hubs."""
        return self.root / "limits.sqlite"

    @property
    def flags(self) -> Path:
        """What became of captured packages on their hubs."""
        return self.root / "flags.sqlite"

    @property
    def ledger(self) -> Path:
        """What was laid out where."""
        return self.root / "ledger.sqlite"

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
        """The default place for `--into hf-cache`."""
        return self.root / "hf-cache"


def sample_channel() -> Path:
    """Return the sample channel: inside the installed package, or at the top of a source checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "manifests" / "sample"
    return installed if installed.is_dir() else package.parent / "manifests" / "sample"
