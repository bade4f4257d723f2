"""May a package's bytes be passed on? Read off the licence its hub names: a table, and caution beyond it."""

from ptmtorrent.model.capture import Rights

OPEN_LICENCES = frozenset(
    {
        *(
            "apache-2.0",
            "mit",
            "mit-0",
            "bsd",
            "bsd-2-clause",
            "bsd-3-clause",
            "bsd-3-clause-clear",
            "isc",
            "zlib",
            "ncsa",
        ),
        *("bsl-1.0", "unlicense", "wtfpl", "cc0-1.0", "pddl", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0"),
        *("cc-by-sa-3.0", "cc-by-sa-4.0", "odc-by", "odbl", "cdla-permissive-1.0", "cdla-permissive-2.0"),
        *("cdla-sharing-1.0", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "agpl-3.0", "mpl-2.0"),
        *("epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2", "ecl-2.0", "artistic-2.0", "postgresql", "ofl-1.1", "gfdl"),
        *("afl-3.0", "lppl-1.3c", "osl-3.0", "ms-pl"),
    }
)
"""Identifiers, as Hugging Face tags spell them, of licences that let anyone redistribute unchanged copies."""


def rights_of(licence: str | None, *, gated: bool) -> Rights:
    """Return the rights of a package: `gated` whatever its licence says, `open` where every licence is known to be.

    Several licences are joined with ` AND `. No licence, an unknown one, or one with conditions on the use
    (OpenRAIL, non-commercial, a vendor's own) is `restricted`.
    """
    if gated:
        return "gated"
    named = [part.strip().lower() for part in (licence or "").split(" AND ")]
    return "open" if all(name in OPEN_LICENCES for name in named) else "restricted"
