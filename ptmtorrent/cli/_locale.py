"""Names of files are bytes, whatever the locale: the program runs in Python's UTF-8 mode, where every byte is kept.

In a locale of another encoding Python would decode names by that, so a package would be laid out under other names than
elsewhere, or not at all. What is printed keeps the encoding of the locale: a terminal shows nothing else.
"""

import codecs
import locale
import os
import sys
from contextlib import suppress

UTF8 = "utf-8"


def enter_utf8_mode() -> None:
    """Start this process again in UTF-8 mode, unless names are UTF-8 already; then print as the locale says."""
    if sys.getfilesystemencoding() != UTF8:
        os.environ["PYTHONUTF8"] = "1"  # also for the workers of a clone
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606  # this program
    if not sys.flags.utf8_mode or "PYTHONIOENCODING" in os.environ:
        return
    with suppress(LookupError):
        encoding = codecs.lookup(locale.getencoding()).name
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            if encoding != UTF8 and hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding=encoding)
