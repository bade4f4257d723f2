"""Fetch: from a verified release to packages laid out, every byte checked before it is visible."""

from ptmtorrent.workflows.fetch.running import FetchRequest, fetch

__all__ = ["FetchRequest", "fetch"]
