"""Release: freeze the newest capture of every package into a signed, immutable release of our own channel."""

from ptmtorrent.workflows.release.running import release

__all__ = ["release"]
