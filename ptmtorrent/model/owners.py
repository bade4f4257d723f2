"""Whose package it is: a name alone does not say, because names are given up and registered again by others."""

from ptmtorrent.model.manifest import Identity


def other_owner(before: Identity, now: Identity) -> str | None:
    """Say how a package differs from the one captured under its name: the name was given up and registered again.

    What either hub did not tell proves nothing.
    """
    for field in ("hub_id", "author_id", "author"):
        was, is_now = getattr(before, field), getattr(now, field)
        if was is not None and is_now is not None:
            return None if was == is_now else f"{field} `{was}` then, `{is_now}` now"
    return None
