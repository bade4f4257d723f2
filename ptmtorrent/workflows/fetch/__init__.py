"""Fetch: from a verified release to packages laid out, every byte checked before it is visible."""
