"""The commands that errors about Globus name: what to type when a login, a consent or a permission is missing."""

import shlex
from collections.abc import Sequence

LOGIN_HINT = "log in, then run the same command again: ptmtorrent auth login globus"
STATUS_HINT = "ask the owner of the collection for access; who you are says: ptmtorrent auth status"


def consent_hint(scopes: Sequence[str]) -> str:
    """Return the command that asks for the consents `scopes`."""
    options = " ".join(f"--scope {shlex.quote(scope)}" for scope in scopes)
    return f"give it, then run the same command again: ptmtorrent auth login globus {options}"


def resume_hint(task: str) -> str:
    """Return what to do about a task that nobody waits for any more."""
    return (
        f"the same command waits for it again. To end it: globus task cancel {task}, or https://app.globus.org/activity"
    )


def collection_hint(collection: str) -> str:
    """Return the command that logs in for reading a collection by HTTPS."""
    return f"log in, then run the same command again: ptmtorrent auth login globus --collection {collection}"
