"""Real filesystems that can fill up, or lose their power: a tmpfs, and an ext4 image whose power is cut. Root only.

Nothing is left mounted, however the block ends: a loop device goes with its mount.
"""

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN."""

NO_LOG_FLUSH = (2).to_bytes(4, "little")
IMAGE_BYTES = 64 << 20
HARSH = "noauto_da_alloc,commit=300"
"""ext4 is not to guess what was meant to be durable, nor to write anything because some time has passed."""


class Disk:
    """An ext4 filesystem in a file of `folder`, whose power can be cut."""

    def __init__(self, folder: Path, size: int = IMAGE_BYTES) -> None:
        self._image = folder / "image"
        self._empty = folder / "empty"
        self.path = folder / "disk"
        self.path.mkdir()
        with self._empty.open("wb") as image:
            image.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", str(self._empty)], check=True, capture_output=True)
        self.renew()

    def renew(self) -> None:
        """Make it empty again."""
        subprocess.run(["cp", "--sparse=always", str(self._empty), str(self._image)], check=True)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Give the folder it is mounted at.

        Raises:
            OSError: it cannot be mounted here.
        """
        with mounted(self.path, "-o", f"loop,{HARSH}", str(self._image)):
            yield self.path

    def cut_power(self) -> None:
        """Drop what is not durable; nothing can be read or written until it is mounted again."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(descriptor)


@contextmanager
def mounted(target: Path, *options: str) -> Iterator[None]:
    """Mount something at `target`, and unmount it at the end.

    Raises:
        OSError: that is not possible here.
    """
    done = _undisturbed("mount", *options, str(target))
    if done.returncode:
        raise OSError(f"cannot mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        if _undisturbed("umount", str(target)).returncode:
            _undisturbed("umount", "--lazy", str(target))


def _undisturbed(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever signals come: half a mount would stay."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def small_tmpfs(target: Path, size: int) -> Iterator[Path]:
    """Mount a tmpfs of `size` bytes at `target`."""
    target.mkdir(exist_ok=True)
    with mounted(target, "-t", "tmpfs", "-o", f"size={size}", "none"):
        yield target


def fill(place: Path, room: int) -> Path:
    """Fill the filesystem of `place` but for `room` bytes, and return the file that does it."""
    filler = place / "filler"
    found = os.statvfs(place)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, found.f_bavail * found.f_frsize - room))
    return filler


def can_mount(folder: Path) -> str | None:
    """Say why no image can be mounted in `folder`; None when one can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if shutil.which("mkfs.ext4") is None:
        return "there is no mkfs.ext4"
    place = folder / "tried"
    place.mkdir()
    try:
        with Disk(place, 8 << 20).mounted():
            return None
    except OSError as error:
        return str(error)
    finally:
        shutil.rmtree(place)
