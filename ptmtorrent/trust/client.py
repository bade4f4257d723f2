"""Opens a channel: verifies untrusted bytes and returns one release.

*Fresh* follows TUF from a pinned root and needs the current time. *Archived* checks a release against a content root,
and needs neither keys nor time. In both cases, all other files are verified by the hashes in `release.json`.
"""

from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import msgspec
from tuf.api.metadata import TargetFile

from ptmtorrent.channel.paths import METADATA, parse_release_path, release_path
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.errors import IntegrityError, NotFound, TrustError, UsageError
from ptmtorrent.model.ids import ContentRoot, PackageName, ReleaseName, is_hex64, parse_release_name
from ptmtorrent.model.moments import SKEW, spell
from ptmtorrent.model.release import MAX_RELEASE_BYTES, Release, decode_release
from ptmtorrent.model.withdrawn import Withdrawal, Withdrawn
from ptmtorrent.trust.fingerprints import fingerprint, folder_of
from ptmtorrent.trust.memory import (
    SEEN,
    Seen,
    exclusive,
    find_fork,
    last_metadata,
    read_seen,
    record_refresh,
    restoring,
    still_counts,
)
from ptmtorrent.trust.metadata import read_listing, stated_sequence
from ptmtorrent.trust.refresh import Refreshed, check_target, refresh, trust_error
from ptmtorrent.trust.withdrawals import keep_withdrawn, read_withdrawn


class ListedRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A release as the signed targets list it, below `releases/NAME/release.json`.

    ::

        {"custom": {"content_root": "…", "sequence": 7}, "hashes": {"sha256": "…"}, "length": 3512}
    """

    name: ReleaseName
    sequence: int
    content_root: ContentRoot
    target: TargetFile


class VerifiedRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A release that was verified by signatures (`fresh`, `offline` if they have expired) or its root (`archived`).

    `refreshed` is the time of the latest refresh before this one, if any; `listed` are the releases that the channel
    lists in what was verified, oldest first. `withdrawn` are packages that are not to be had any more, and why.
    """

    release: Release
    how: Literal["fresh", "offline", "archived"]
    sequence: int
    refreshed: str | None = None
    expired: datetime | None = None
    listed: tuple[ListedRelease, ...] = ()
    withdrawn: dict[PackageName, Withdrawal] = {}


def open_fresh(  # noqa: PLR0913  # the channel, what makes it trusted, and when
    reader: ChannelReader, *, root: bytes, state: Path, now: datetime, release: str | None, accept_expired: bool = False
) -> VerifiedRelease:
    """Return the newest release of the channel, or the one named `release`, verified by its signatures.

    `root` is the pinned first root. The state of a channel is kept below `state` by its fingerprint, so all mirrors of
    a channel share it. The newest listed sequence must not be below the highest seen. Expiry is judged at `now`, or at
    the latest successful refresh if that is later: then the clock was set back. With `accept_expired`, for readers
    without a connection, it is not judged; then the clock must not be before what was seen or signed.

    Raises:
        TrustError: a signature, expiry, version, hash or sequence is invalid, or the list is a fork of one seen before.
        NotFound: the channel has no such release (the hint has near matches), or lacks a file.
        TransportError: the reader's own error.
        IntegrityError, UnsupportedFormat: this program cannot read the signed release.
        StoreError: `state` cannot be written.
    """
    folder = state / folder_of(fingerprint(root))
    with exclusive(folder):
        seen = read_seen(folder)
        before = last_metadata(folder / METADATA)
        found = refresh(
            reader,
            root,
            folder / METADATA,
            now,
            seen=seen.refreshed_at,
            record=folder / SEEN,
            accept_expired=accept_expired,
        )
        offline = accept_expired and found.expires <= max(now, seen.refreshed_at or now)
        listed = listed_releases(found.targets.targets)
        with restoring(before):
            withdrawn = _remember(reader, folder, seen, found, listed, None if offline else now)
    chosen = _choose(listed, release, reader.location)
    verified = read_listed_release(reader, chosen)
    if offline:
        _check_clock(now, seen, verified, reader.location)
    return VerifiedRelease(
        release=verified,
        how="offline" if offline else "fresh",
        expired=found.expires if offline else None,
        sequence=chosen.sequence,
        refreshed=seen.refreshed,
        listed=tuple(listed.values()),
        withdrawn=withdrawn.packages,
    )


def _remember(  # noqa: PLR0913, PLR0917  # what was seen, and what was seen now
    reader: ChannelReader,
    folder: Path,
    seen: Seen,
    found: Refreshed,
    listed: dict[ReleaseName, ListedRelease],
    now: datetime | None,
) -> Withdrawn:
    """Compare verified metadata with what was `seen` before, and record it; return what was withdrawn.

    Raises:
        TrustError: it goes back behind what was seen, is a fork of it, or hides a withdrawal.
        NotFound, TransportError, IntegrityError, StoreError: the list of what was withdrawn cannot be read or recorded.
    """
    newest = _newest_sequence(listed, found, seen, reader.location)
    log = _log(listed, seen, found, reader.location)
    withdrawn = read_withdrawn(reader, found.targets.targets)
    keep_withdrawn(folder, withdrawn, reader.location, binds=still_counts(seen, found.targets_keys))
    record_refresh(folder, seen, sequence=newest, listed=log, keys=found.targets_keys, now=now)
    return withdrawn


def open_archived(reader: ChannelReader, content_root: ContentRoot, *, name: str | None = None) -> VerifiedRelease:
    """Return the release with this content root, which replaces signatures and expiry.

    Without `name`, the release is found in the unverified listing of the channel.

    Raises:
        UsageError: `content_root` or `name` is malformed.
        TrustError: the release has another content root.
        NotFound: the channel does not list the release, or lacks the file.
        TransportError: the reader's own error.
        UnsupportedFormat: written by a newer version.
    """
    if not is_hex64(content_root):
        raise UsageError(f"`{content_root}` is not a content root", hint="give 64 hex digits: `--release b3:HASH`")
    where = _find(reader, content_root) if name is None else parse_release_name(name)
    data = reader.read(release_path(where), limit=MAX_RELEASE_BYTES)
    try:
        release = decode_release(data)
    except IntegrityError as error:
        raise trust_error(reader.location, f"release `{where}` is damaged: {error.message}") from error
    if (release.content_root, release.name) != (content_root, where):
        raise trust_error(reader.location, f"release `{where}` is `b3:{release.content_root}`, not `b3:{content_root}`")
    return VerifiedRelease(release=release, how="archived", sequence=release.sequence)


def _newest_sequence(listed: dict[ReleaseName, ListedRelease], found: Refreshed, seen: Seen, location: str) -> int:
    newest = max((stated_sequence(found.targets), *(item.sequence for item in listed.values())))
    if newest < seen.sequence and still_counts(seen, found.targets_keys):
        raise trust_error(location, f"its newest release has sequence {newest}, but {seen.sequence} was seen before")
    return newest


def _log(listed: dict[ReleaseName, ListedRelease], seen: Seen, found: Refreshed, location: str) -> dict[str, str]:
    """Return the SHA-256 of each listed release by its sequence; refuse a list that is a fork of what was seen."""
    log = {str(item.sequence): item.target.hashes.get("sha256", "") for item in listed.values()}
    fork = find_fork(seen, log) if still_counts(seen, found.targets_keys) else None
    if fork is not None:
        here, before = log[str(fork)], seen.log[str(fork)]
        raise TrustError(
            f"channel `{location}` is a fork: its release with sequence {fork} is `sha256:{here}`, and "
            f"`sha256:{before}` was seen before",
            hint="ask the maintainer which of the two is right: both are signed with the channel's keys",
        )
    return log


def _check_clock(now: datetime, seen: Seen, release: Release, location: str) -> None:
    """Refuse a clock that is before what was seen or signed, where expiry is not judged."""
    latest = max(datetime.fromisoformat(release.created), seen.refreshed_at or now)
    if now < latest - SKEW:
        raise TrustError(
            f"the clock shows {spell(now)}, and channel `{location}` was signed or read at {spell(latest)}",
            hint="set the clock, or give a release by its hash: `--release b3:HASH`",
        )


def _choose(listed: dict[ReleaseName, ListedRelease], release: str | None, location: str) -> ListedRelease:
    if not listed:
        raise NotFound(f"channel `{location}` has no release yet")
    if release is None:
        return max(listed.values(), key=lambda item: item.sequence)
    chosen = listed.get(ReleaseName(release))
    if chosen is None:
        raise unknown_release(release, listed, location)
    return chosen


def read_listed_release(reader: ChannelReader, chosen: ListedRelease) -> Release:
    """Return a release that verified targets list.

    Raises:
        TrustError: the file is not the listed one.
        NotFound, TransportError, IntegrityError, UnsupportedFormat: it cannot be read.
    """
    path = release_path(chosen.name)
    if chosen.target.length > MAX_RELEASE_BYTES:
        raise IntegrityError(f"`{path}` is {chosen.target.length} bytes, which exceeds the limit of a release.json")
    try:
        data = reader.read(path, limit=chosen.target.length)
    except IntegrityError as error:
        raise trust_error(reader.location, error.message) from error
    check_target(chosen.target, data, reader.location)
    release = decode_release(data)
    found = (release.name, release.sequence, release.content_root)
    if found != (chosen.name, chosen.sequence, chosen.content_root):
        raise TrustError(f"release `{chosen.name}` of channel `{reader.location}` differs from its signed listing")
    return release


def _find(reader: ChannelReader, content_root: ContentRoot) -> ReleaseName:
    """Search the unverified listing; the caller checks that the release has this content root."""
    try:
        listing = read_listing(reader)
    except IntegrityError as error:
        raise trust_error(reader.location, f"its listing cannot be read: {error.message}") from error
    for item in listed_releases(listing.targets).values():
        if item.content_root == content_root:
            return item.name
    for name, root in listing.retired.items():
        if root == content_root:
            return name
    raise NotFound(f"channel `{reader.location}` does not list a release `b3:{content_root}`")


def listed_releases(targets: Mapping[str, TargetFile]) -> dict[ReleaseName, ListedRelease]:
    """Return the releases among `targets`, oldest first; malformed entries are ignored."""
    found = filter(None, (_listed(path, target) for path, target in targets.items()))
    return {listed.name: listed for listed in sorted(found, key=lambda listed: (listed.sequence, listed.name))}


def unknown_release(name: str, known: Mapping[ReleaseName, ListedRelease], location: str) -> NotFound:
    """Return the error for a release that the channel does not list; its hint has near matches."""
    near = get_close_matches(name, known, n=3, cutoff=0.5) or [*known][-3:]
    names = ", ".join(f"`{item}`" for item in near)
    return NotFound(f"channel `{location}` has no release `{name}`", hint=f"did you mean {names}?" if near else None)


def _listed(path: str, target: TargetFile) -> ListedRelease | None:
    name = parse_release_path(path)
    custom = target.custom
    if name is None or not isinstance(custom, dict):
        return None
    sequence, root = custom.get("sequence"), custom.get("content_root")
    if type(sequence) is not int or sequence < 1 or not isinstance(root, str) or not is_hex64(root):
        return None
    return ListedRelease(name=name, sequence=sequence, content_root=ContentRoot(root), target=target)
