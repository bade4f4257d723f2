"""The request to stop a run: set once by a signal, checked by every loop that takes long."""

from threading import Event

from ptmtorrent.errors import Interrupted

RESUME_HINT = "run the same command again to resume"
ANEW_HINT = "run the same command again; it begins anew"
"""The hint of what keeps nothing, such as a check."""


class Stop(Event):
    """An event that a signal sets. Loops check it between steps and wait on it instead of sleeping."""

    def raise_if_set(self, what: str, *, hint: str = RESUME_HINT) -> None:
        """Raise `Interrupted` once the event is set; `what` is what was interrupted, such as `the clone`."""
        if self.is_set():
            raise Interrupted(f"{what} was interrupted", hint=hint)
