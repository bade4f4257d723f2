"""Why a Globus task or request did not succeed, in words; these errors need no library of Globus to be told apart.

The codes are those of a task's `fatal_error` and of its events (Globus Transfer API, "Task Document", "Event
Document"). Their texts are written for operators of servers, so the cause is named first and the text follows.
"""

from ptmtorrent.errors import AuthError, TransportError

_CAUSES = (
    (("QUOTA",), "the disk quota at the destination is used up"),
    (("NO_SPACE", "ENOSPC"), "the disk of the destination is full"),
    (("CANCELED", "CANCELLED"), "it was cancelled"),
    (
        ("PERMISSION_DENIED", "PERMISSIONDENIED", "NOT_ALLOWED"),
        "a collection does not permit your identity to read or write a file",
    ),
    (("FILE_NOT_FOUND", "PATH_NOT_FOUND", "NOT_FOUND"), "a file does not exist at the source"),
    (("CREDENTIAL",), "the credentials of a collection have expired"),
    (("DEADLINE", "EXPIRED"), "its deadline has passed"),
)


class NotPermitted(AuthError):
    """The login is valid, and its identity lacks a permission."""


class TaskEnded(TransportError):
    """A task ended without success; the message names the task and the cause."""


def explain(report: str) -> str:
    """Return `report` of a task, which begins with a code, behind the cause that the code stands for, if known."""
    code = report.partition(":")[0].upper()
    for words, cause in _CAUSES:
        if any(word in code for word in words):
            return f"{cause} ({report})"
    return report
