"""What the release says of findings in the wanted packages: one line, or packages that are refused for them."""

from collections import Counter
from collections.abc import Iterator, Sequence

from ptmtorrent.errors import PtmError, UsageError
from ptmtorrent.model.findings import LEVELS, Level
from ptmtorrent.model.flagged import Flag, Flagged
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.release import Member
from ptmtorrent.model.text import count
from ptmtorrent.reading.flagged import read_flagged
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.workflows.fetch.select import Refused


class Allowed:
    """The `members` that may be fetched, and those that are `refused` for findings of a level or a worse one.

    Without a `level` none is. A package that was captured without a scan is refused at every level.

    Raises:
        UsageError: the release was opened by its content root, which does not cover findings, and a level is given.
        IntegrityError, TransportError: a level is given, and the findings cannot be read.
    """

    def __init__(self, members: Sequence[Member], channel: OpenChannel, level: Level | None, emit: Emit) -> None:
        if level is not None and channel.proven:
            raise UsageError(
                "`--refuse-findings` needs a signed release: a content root does not cover findings",
                hint="name the release, or leave out `--release` to take the newest",
            )
        self.members: Sequence[Member] = members
        self.refused: list[Refused] = []
        flagged = _read(channel, level, emit)
        if flagged is None:
            return
        if level is not None:
            self.refused = list(_refuse(members, flagged, level))
            names = {refused.package for refused in self.refused}
            self.members = [member for member in members if member.package not in names]
        if note := _note([member for member in self.members if member.package in flagged.packages], flagged):
            emit(note)


def _read(channel: OpenChannel, level: Level | None, emit: Emit) -> Flagged | None:
    try:
        return read_flagged(channel.release, channel.reader)
    except PtmError as error:
        if level is not None:
            raise
        # A mirror lacks the document, or its bytes are wrong: the packages can be fetched all the same.
        emit(Note(message=f"what the release says of findings cannot be read: {error.message}", warning=True))
        return None


def _refuse(members: Sequence[Member], flagged: Flagged, level: Level) -> Iterator[Refused]:
    unscanned = set(flagged.unscanned)
    for member in members:
        package = member.package
        if package in unscanned:
            reason = "it was captured without a scan, so nothing is known of findings"
            yield Refused(package=package, status="impossible", reason=reason)
            continue
        flag = flagged.packages.get(package)
        if flag is not None and flag.severity >= LEVELS.index(level):
            reason = f"refused by `--refuse-findings {level}`: {_spell(flag)}"
            yield Refused(package=package, status="impossible", reason=reason)


def _note(members: Sequence[Member], flagged: Flagged) -> Note | None:
    """Return the one line on the findings in these packages; None if there are none."""
    flags = [flagged.packages[member.package] for member in members]
    if not flags:
        return None
    warning = any(flag.severity > 0 for flag in flags)
    if len(flags) == 1:
        package = members[0].package
        message = f"`{package}` has {_spell(flags[0])} (details: `ptmtorrent show {package}`)"
        return Note(message=message, warning=warning)
    levels = Counter(flag.level for flag in flags)
    counts = ", ".join(f"{levels[level]} `{level}`" for level in reversed(LEVELS) if levels[level])
    message = f"{len(flags)} packages have findings, by the worst of each: {counts}"
    return Note(message=f"{message} (details: `ptmtorrent show PACKAGE`)", warning=warning)


def _spell(flag: Flag) -> str:
    what = f": `{flag.file}` {flag.meaning}" if flag.meaning else ""
    return f"{count(flag.findings, 'finding')}, the worst of level `{flag.level}`{what}"
