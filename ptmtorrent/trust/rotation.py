"""Changes the keys of a channel by a next root, which enough keys of the root before it and of its own sign.

A next root waits in a staged file until its signatures suffice: no reader sees it half signed, and the file is passed
from one holder of a root key to the next. Then it is published in one step: the timestamp, snapshot and targets are
signed by the keys of both roots and written first, so that a reader of either root accepts them; the root comes last.
Where no old key of a role is left, because it was lost, both are written one after the other, and a run after a crash
between them writes the second.

Clients that saw a higher version, signed with a stolen key, recover: what was signed with a key that the new root does
not list is discarded (TUF specification, 5.3.11; `memory` does so for the sequence).
"""

from collections.abc import Collection
from datetime import datetime
from pathlib import Path

import msgspec
from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Root, Timestamp

from ptmtorrent.channel.paths import TIMESTAMP, metadata_path
from ptmtorrent.disk.durable import read_optional, write_file
from ptmtorrent.errors import ConfigError, IntegrityError, NotFound, TrustError
from ptmtorrent.trust import roles
from ptmtorrent.trust.keys import Keys, select_signers
from ptmtorrent.trust.metadata import parse_metadata
from ptmtorrent.trust.own import read_published, read_roots
from ptmtorrent.trust.publisher import Accept, sign_anew

__all__ = ["Root", "Signatures", "Signer", "change_role", "count_signatures", "publish_root", "sign_root"]


class Signatures(msgspec.Struct, frozen=True, kw_only=True):
    """What a next root has of the signatures that it needs: of the keys of the root before it, and of its own."""

    version: int
    old: int
    old_needed: int
    new: int
    new_needed: int

    @property
    def suffice(self) -> bool:
        """Whether readers will follow the root."""
        return self.old >= self.old_needed and self.new >= self.new_needed

    def spell(self) -> str:
        """Return what there is and what is needed."""
        return f"{self.old} of {self.old_needed} old and {self.new} of {self.new_needed} new root keys"


def change_role(root: Root, role: str, remove: Collection[str], add: Collection[Key], threshold: int | None) -> Root:
    """Change the keys of `role` in `root`, which is not signed yet; return it.

    Raises:
        ConfigError: fewer keys would be left than must sign.
    """
    for keyid in remove:
        root.revoke_key(keyid, role)
    for key in add:
        root.add_key(key, role)
    about = root.roles[role]
    about.threshold = about.threshold if threshold is None else threshold
    if not 1 <= about.threshold <= len(about.keyids):
        raise ConfigError(
            f"the {role} role would have {len(about.keyids)} keys, and {about.threshold} must sign",
            hint="give a lower `--threshold`, or more `--keys`",
        )
    return root


def sign_root(data: bytes, signers: Collection[Signer]) -> bytes:
    """Return the root in `data` with the signatures of `signers` added.

    Raises:
        IntegrityError: it is not a root.
    """
    metadata = parse_metadata(data, Root)
    for signer in signers:
        if signer.public_key.keyid not in metadata.signatures:
            metadata.sign(signer, append=True)
    return metadata.to_bytes(roles.COMPACT)


def count_signatures(channel: Path, data: bytes) -> Signatures:
    """Return the signatures of the next root in `data`, as the root of the channel and it itself count them.

    Raises:
        NotFound: the channel has no root yet.
        IntegrityError: it is not the root after the channel's.
        TrustError: the roots of the channel do not hold.
    """
    current, metadata = _current(channel), parse_metadata(data, Root)
    following = metadata.signed
    if following.version != current.version + 1:
        raise IntegrityError(
            f"the root to sign has version {following.version}, and the channel is at {current.version}",
            hint="make the change again: ptmtorrent keys rotate ROLE, or keys revoke KEY",
        )
    old = current.get_verification_result("root", metadata.signed_bytes, metadata.signatures)
    new = following.get_verification_result("root", metadata.signed_bytes, metadata.signatures)
    return Signatures(
        version=following.version,
        old=len(old.signed),
        old_needed=current.roles["root"].threshold,
        new=len(new.signed),
        new_needed=following.roles["root"].threshold,
    )


def publish_root(channel: Path, keys: Keys, data: bytes, now: datetime, *, accept: Accept | None = None) -> None:
    """Make the next root in `data` the root of the channel, with a timestamp, snapshot and targets that it accepts.

    Raises:
        TrustError: its signatures do not suffice, or the metadata of the channel does not hold.
        ConfigError: a key that it lists for another role is not at hand.
        NotFound: the channel has no release yet.
        IntegrityError: it is not the root after the channel's.
        StoreError: the folder cannot be written.
    """
    have = count_signatures(channel, data)
    if not have.suffice:
        raise TrustError(
            f"root {have.version} is signed by {have.spell()}",
            hint="pass the file to another holder of a root key, to run: ptmtorrent keys sign FILE",
        )
    following = parse_metadata(data, Root).signed
    path = channel / metadata_path("root", following.version)
    if _accepts_timestamp(following, channel) and not _accepts_timestamp(_current(channel), channel):
        write_file(path, data)  # the second half of a run that was interrupted
        return
    published = read_published(channel, None)
    _check_at_hand(following, keys)
    timestamp = sign_anew(channel, keys.of(*published.roots, following), published, now)
    if accept is not None:
        accept({TIMESTAMP: timestamp, metadata_path("root", following.version): data})
    write_file(channel / TIMESTAMP, timestamp)
    write_file(path, data)


def _current(channel: Path) -> Root:
    try:
        roots = read_roots(channel)
    except (RepositoryError, IntegrityError, ValueError) as error:
        raise TrustError(
            f"the roots of your channel `{channel}` are invalid: {error}", hint="restore `metadata/` from a mirror"
        ) from error
    if not roots:
        raise NotFound(f"the channel `{channel}` has no release yet", hint="make one: ptmtorrent release NAME")
    return roots[-1]


def _accepts_timestamp(root: Root, channel: Path) -> bool:
    data = read_optional(channel / TIMESTAMP)
    if data is None:
        return False
    metadata = parse_metadata(data, Timestamp)
    return bool(root.get_verification_result("timestamp", metadata.signed_bytes, metadata.signatures))


def _check_at_hand(root: Root, keys: Keys) -> None:
    for role, usable in select_signers(keys.signers, root).items():
        if role != "root" and len(usable) < root.roles[role].threshold:
            raise ConfigError(
                f"the next root wants {root.roles[role].threshold} {role} keys, and {len(usable)} are at hand",
                hint="put them into the keys folder, then run the same command again",
            )
