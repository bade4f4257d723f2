"""Clone: from a hub's listing to snapshots in the store."""

from ptmtorrent.workflows.clone.crew import Crew
from ptmtorrent.workflows.clone.running import CloneRequest, clone

__all__ = ["CloneRequest", "Crew", "clone"]
