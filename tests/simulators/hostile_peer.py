"""A peer that takes part in the BitTorrent protocol and then does harm: silent, dripping, garbage, a flood.

Source: BEP 3, "peer protocol": a handshake, then messages of a length, a type and a payload.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ptmtorrent.transports.torrent.session import Address

PROTOCOL = b"\x13BitTorrent protocol"
HANDSHAKE_BYTES = 68
UNCHOKE, INTERESTED, HAVE, BITFIELD, REQUEST, PIECE = 1, 2, 4, 5, 6, 7

Habit = Callable[["Peer"], None]


class Peer:
    """One connection of another client, past its handshake; `pieces` is how many the torrent has."""

    def __init__(self, connection: socket.socket, pieces: int) -> None:
        self.connection = connection
        self.pieces = pieces

    def send(self, kind: int, payload: bytes = b"") -> None:
        self.connection.sendall(struct.pack(">IB", 1 + len(payload), kind) + payload)

    def offer_everything(self) -> None:
        bits = bytearray(-(-self.pieces // 8))
        for piece in range(self.pieces):
            bits[piece // 8] |= 0x80 >> piece % 8
        self.send(BITFIELD, bytes(bits))
        self.send(UNCHOKE)

    def requests(self) -> Iterator[tuple[int, int, int]]:
        """Yield what is asked for: piece, offset and length."""
        while True:
            (length,) = struct.unpack(">I", self._exactly(4))
            data = self._exactly(length)
            if data[:1] == bytes([REQUEST]):
                piece, offset, size = struct.unpack(">III", data[1:13])
                yield piece, offset, size

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            if not (part := self.connection.recv(count - len(data))):
                raise ConnectionResetError
            data += part
        return data


def silent(_: Peer) -> None:
    """Say nothing."""
    time.sleep(60)


def stalling(peer: Peer) -> None:
    """Offer everything, and answer no request."""
    peer.offer_everything()
    for _ in peer.requests():
        pass


def dripping(peer: Peer) -> None:
    """Answer a request with a byte at a time."""
    peer.offer_everything()
    piece, offset, size = next(peer.requests())
    peer.connection.sendall(struct.pack(">IBII", 9 + size, PIECE, piece, offset))
    for _ in range(size):
        peer.connection.sendall(b"x")
        time.sleep(0.05)


def garbage(peer: Peer) -> None:
    """Answer every request with other bytes."""
    peer.offer_everything()
    for piece, offset, size in peer.requests():
        peer.send(PIECE, struct.pack(">II", piece, offset) + bytes(size))


def flooding(peer: Peer) -> None:
    """Send one block again and again, which is asked for once."""
    peer.offer_everything()
    piece, offset, size = next(peer.requests())
    while True:
        peer.send(PIECE, struct.pack(">II", piece, offset) + bytes(size))
        time.sleep(0.005)


def endless_message(peer: Peer) -> None:
    """Announce a message of 4 GiB, and send it."""
    peer.connection.sendall(struct.pack(">IB", 0xFFFFFFFF, BITFIELD))
    while True:
        peer.connection.sendall(bytes(1 << 16))
        time.sleep(0.01)


HABITS = (silent, stalling, dripping, garbage, flooding, endless_message)


@contextmanager
def hostile_peer(habit: Habit, pieces: int) -> Iterator[Address]:
    """Listen on loopback, complete every handshake with the infohash of the other side, then do as the habit says."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            hello = b""
            while len(hello) < HANDSHAKE_BYTES:
                if not (part := connection.recv(HANDSHAKE_BYTES - len(hello))):
                    return
                hello += part
            if not hello.startswith(PROTOCOL):
                return  # a client that encrypts connects again and does not
            connection.sendall(hello[:20] + bytes(8) + hello[28:48] + b"-XX0001-hostilepeer.")
            habit(Peer(connection, pieces))

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield "127.0.0.1", listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
