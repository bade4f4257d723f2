"""Hints of Globus errors: the command for a missing login, consent or permission."""

import shlex
from collections.abc import Sequence

from ptmtorrent.config import default_user_file

LOGIN_HINT = "log in, then run the same command again: ptmtorrent auth login globus"
HERE_HINT = "set `globus_here` to `COLLECTION:/folder`, where that folder of this machine is the collection's `/`"
CLIENT_HINT = (
    "set `globus_client_id` in `{file}`, or PTMTORRENT_GLOBUS_CLIENT_ID, to the id of an app that is registered at"
    " https://app.globus.org/settings/developers"
)
SECRET_HINT = "set PTMTORRENT_GLOBUS_CLIENT_ID and PTMTORRENT_GLOBUS_CLIENT_SECRET to a client and its own secret"  # noqa: S105
STATUS_HINT = "ask the owner of the collection for access; to see your identity: ptmtorrent auth status"


def client_hint() -> str:
    """Return where the id of a client is set."""
    return CLIENT_HINT.format(file=default_user_file() or "config.toml")


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
