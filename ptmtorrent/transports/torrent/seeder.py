"""Seeds the volumes of a channel folder, upload only.

A pack that is missing, or whose pieces do not match the hashes of its torrent, is not offered; the other packs of its
volume are. A seeder never writes into the channel.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import libtorrent as lt
import msgspec

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.pieces import pieces_in
from ptmtorrent.model.torrents import packs_in
from ptmtorrent.transports.torrent.session import CHECKING, Payload, TorrentSession, TorrentSpec, file_bytes


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A seeded torrent: its packs as `(pack, bytes)`, those missing from the folder, and all that are not offered."""

    handle: lt.torrent_handle
    packs: tuple[tuple[PackId, int], ...]
    missing: frozenset[PackId]
    left_out: frozenset[PackId]


class Seeder:
    """Seeds torrents over the packs of `folder` through `session`."""

    def __init__(self, session: TorrentSession, folder: Path) -> None:
        self._session = session
        self._folder = folder
        self._unchecked: list[Offer] = []
        self._warned: set[str] = set()

    def offer(  # noqa: PLR0913  # a torrent, and what the caller knows of it
        self,
        torrent: bytes,
        *,
        name: str,
        trackers: Sequence[str] = (),
        packs: tuple[tuple[PackId, int], ...] | None = None,
        verified: bool = False,
        wrong: Collection[PackId] = (),
    ) -> Offer:
        """Seed the packs of `torrent` that exist in the folder, but for the `wrong` ones.

        `packs` are those of the torrent, if the caller has parsed it. `verified` says that the caller read them, and
        skips hashing them first.

        Raises:
            IntegrityError: `torrent`, called `name` in messages, does not describe a volume.
        """
        packs = packs or packs_in(torrent, name=name)
        missing = frozenset(pack for pack, size in packs if not self._exists(pack, size))
        left_out = missing | frozenset(wrong)
        have = [pack not in left_out for pack, size in packs for _ in range(pieces_in(size))]
        part = TorrentSpec(
            torrent=torrent,
            folder=self._folder,
            priorities=[int(pack not in left_out) for pack, _ in packs],
            have=have if verified else None,
            upload_only=True,
            trackers=trackers,
        )
        offer = Offer(handle=self._session.add(part), packs=packs, missing=missing, left_out=left_out)
        self._unchecked.append(offer)
        return offer

    def poll(self, seconds: float) -> list[str]:
        """Return new warnings about damaged, missing or unreadable packs and trackers, waiting up to `seconds`."""
        sentences: list[str] = []
        for alert in self._session.alerts(seconds):
            if isinstance(alert, lt.file_error_alert):
                # An unreadable pack must not stop the other packs of its volume.
                alert.handle.clear_error()
                alert.handle.resume()
                sentences.append(f"`{alert.filename()}` cannot be read: {alert.error.message()}")
            elif isinstance(alert, lt.tracker_error_alert):
                sentences.append(f"the tracker `{alert.tracker_url()}` does not respond: {alert.error_message()}")
        for offer in [offer for offer in self._unchecked if offer.handle.status(0).state not in CHECKING]:
            self._unchecked.remove(offer)
            sentences += [
                f"the pack `{pack}` is damaged: some of its pieces are not offered" for pack in _damaged(offer)
            ]
        fresh = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._warned]
        self._warned.update(fresh)
        return fresh

    @property
    def checking(self) -> bool:
        """Whether packs are still being hashed."""
        return bool(self._unchecked)

    def payload(self) -> Payload:
        """Return the payload counters."""
        return self._session.payload()

    def _exists(self, pack: PackId, size: int) -> bool:
        try:
            return os.stat(f"{self._folder}/{pack_path(pack)}").st_size == size  # noqa: PTH116  # of many packs
        except OSError:
            return False


def _damaged(offer: Offer) -> list[PackId]:
    progress = file_bytes(offer.handle)
    rows = zip(offer.packs, progress, strict=True)
    return [pack for (pack, size), done in rows if pack not in offer.left_out and done < size]
