"""Names the licence of a text, for hubs that keep a text but no id. Covers the few licences that their packages use.

A short text must be the name and nothing else; a longer text must contain the sentence by which the licence grants its
rights. A mere mention does not count: it may continue with "not", or "for the code only".
"""

import re

_SHOWN = 16_384
_LINE = 120
_NAMES = (
    (r"apache[ -]*(?:software[ -]*)?(?:licen[sc]e)?[ ,]*(?:version|v)?[ .]*2(?:\.0)?", "apache-2.0"),
    (r"mit", "mit"),
    (r"(?:new |modified )?bsd[ -]*3(?:[ -]*clause)?|3[ -]*clause[ -]*bsd|bsd[ -]*\(?3[ -]clause\)?", "bsd-3-clause"),
)
_LINES = tuple(
    (
        re.compile(
            rf"\W*(?:(?:licen[sc]ed|released|provided|distributed|available) )?(?:under )?(?:the |an |a )?"
            rf"(?:{name})(?: (?:open[ -]source )?licen[sc]e)?\W*",
            re.IGNORECASE,
        ),
        known,
    )
    for name, known in _NAMES
)
_GRANTS = (
    (re.compile(r"Apache License\s+Version 2\.0, January 2004"), "apache-2.0"),
    (re.compile(r"Licensed under the Apache License, Version 2\.0"), "apache-2.0"),
    (re.compile(r"Permission is hereby granted, free of charge, to any person obtaining\s+a copy"), "mit"),
    (re.compile(r"Redistribution and use in source and binary forms.*Neither the name", re.DOTALL), "bsd-3-clause"),
)
_RESERVED = re.compile(r"non-?\s?commercial|no redistribution|\bcc[ -]by|research (?:purposes )?only", re.IGNORECASE)


def name_licence(text: str) -> str | None:
    """Return the id of the licence that `text` names or is, or None."""
    shown = text[:_SHOWN]
    if _RESERVED.search(shown):
        return None
    if len(shown.strip()) <= _LINE:
        return next((name for line, name in _LINES if line.fullmatch(shown.strip())), None)
    return next((name for grant, name in _GRANTS if grant.search(shown)), None)
