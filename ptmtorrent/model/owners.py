"""Detects a new owner behind a package name: a name that was given up can be registered again by another owner."""

from ptmtorrent.model.manifest import Identity


def describe_owner_change(before: Identity, now: Identity) -> str | None:
    """Return how the owner of a package differs from the captured one's, or None.

    The first of hub id, author id and author that both identities have decides; fields that one lacks are ignored.
    """
    for field in ("hub_id", "author_id", "author"):
        was, is_now = getattr(before, field), getattr(now, field)
        if was is not None and is_now is not None:
            return None if was == is_now else f"{field} `{was}` then, `{is_now}` now"
    return None
