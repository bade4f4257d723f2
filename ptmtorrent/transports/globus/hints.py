"""Hints of Globus errors: the command for a missing login, consent or permission."""

import shlex
from collections.abc import Sequence

LOGIN_HINT = "log in, then run the same command again: ptmtorrent auth login globus"
STATUS_HINT = "ask the owner of the collection for access; to see your identity: ptmtorrent auth status"


def consent_hint(scopes: Sequence[str]) -> str:
    """Return the command that requests consent to `scopes`."""
    options = " ".join(f"--scope {shlex.quote(scope)}" for scope in scopes)
    return f"consent, then run the same command again: ptmtorrent auth login globus {options}"


def resume_hint(task: str) -> str:
    """Return how to resume waiting for a task, or cancel it."""
    return f"run the same command to wait for it again. To cancel it: globus task cancel {task}, or https://app.globus.org/activity"


def collection_hint(collection: str) -> str:
    """Return the command that logs in to read a collection over HTTPS."""
    return f"log in, then run the same command again: ptmtorrent auth login globus --collection {collection}"
