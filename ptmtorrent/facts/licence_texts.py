"""Names the licence of a text, for hubs and folders that keep a text but no id.

A short text must be the name and nothing else; a longer text must contain the sentence by which the licence grants its
rights, or begin with the title of a licence and be no longer than that. A mere mention does not count: it may continue
with "not", or "for the code only".
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
_RESERVED = re.compile(
    r"non-?\s?commercial|no redistribution|\bcc[ -]by|research\s+(?:purposes\s+)?only|commons\s+clause|not\s+evil",
    re.IGNORECASE,
)
_WORD = re.compile(r"[a-z0-9]+")
_TITLES = tuple(
    (tuple(title.split()), name, words)
    for title, name, words in (
        ("gnu general public license version 2 june 1991", "gpl-2.0", 2989),
        ("gnu general public license version 3 29 june 2007", "gpl-3.0", 5700),
        ("gnu lesser general public license version 2 1 february 1999", "lgpl-2.1", 4415),
        ("gnu lesser general public license version 3 29 june 2007", "lgpl-3.0", 1241),
        ("gnu affero general public license version 3 19 november 2007", "agpl-3.0", 5580),
        ("mozilla public license version 2 0", "mpl-2.0", 2426),
        ("creative commons legal code cc0 1 0 universal", "cc0-1.0", 1088),
        ("this is free and unencumbered software released into the public domain", "unlicense", 200),
        ("attribution 4 0 international", "cc-by-4.0", 2640),
        ("attribution sharealike 4 0 international", "cc-by-sa-4.0", 2828),
        ("attribution noncommercial 4 0 international", "cc-by-nc-4.0", 2720),
        ("attribution noderivatives 4 0 international", "cc-by-nd-4.0", 2600),
        ("attribution noncommercial sharealike 4 0 international", "cc-by-nc-sa-4.0", 2920),
        ("attribution noncommercial noderivatives 4 0 international", "cc-by-nc-nd-4.0", 2690),
    )
)
"""Licences that are recognised by the words they begin with; a text with more words than the licence adds terms."""

_AUTHOR = ("creative", "commons")
"""May stand before the title of a licence."""


def name_licence(text: str) -> str | None:
    """Return the id of the licence that `text` names or is, or None."""
    if (titled := _name_by_title(text)) is not None:
        return titled
    if _RESERVED.search(text):
        return None
    shown = text[:_SHOWN]
    if len(text.strip()) <= _LINE:
        return next((name for line, name in _LINES if line.fullmatch(shown.strip())), None)
    return next((name for grant, name in _GRANTS if grant.search(shown)), None)


def _name_by_title(text: str) -> str | None:
    words = tuple(_WORD.findall(text.lower()))
    starts = (words, words[len(_AUTHOR) :]) if words[: len(_AUTHOR)] == _AUTHOR else (words,)
    for title, name, longest in _TITLES:
        if len(words) <= longest and any(start[: len(title)] == title for start in starts):
            return name
    return None
