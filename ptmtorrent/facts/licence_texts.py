"""Which licence a text is of, for hubs that keep the text and no id: the few that their packages really have."""

import re

_SHOWN = 4096
_SIGNS = (
    (re.compile(r"\bapache[ -]*(license)?,?\s*(version)?\s*v?2", re.IGNORECASE), "apache-2.0"),
    (re.compile(r"\bmit\b", re.IGNORECASE), "mit"),
    (re.compile(r"\bbsd[ -]*3|\b3[ -]*clause[ -]*bsd", re.IGNORECASE), "bsd-3-clause"),
)


def name_licence(text: str) -> str | None:
    """Return the id of the licence that the beginning of `text` names, None when it is none of those known here."""
    shown = text[:_SHOWN]
    return next((name for sign, name in _SIGNS if sign.search(shown)), None)
