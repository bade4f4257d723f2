"""Reads packs of a channel that is a local folder in place, without a copy."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.errors import IntegrityError, NotFound, PtmError, TransportError
from ptmtorrent.model.plan import PackRequest
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered, Failed


class LocalTransport:
    """Delivers extents of packs of the channel in `folder`."""

    whole_packs = False

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    def deliver(
        self,
        requests: Sequence[PackRequest],
        staging: Path,  # noqa: ARG002  # nothing is staged: the pack is read in place
        stop: Stop,
    ) -> Iterator[Delivered | Failed]:
        """Yield one outcome for every extent; see `PackTransport.deliver`."""
        for request in requests:
            path = self._folder / pack_path(request.pack)
            error = _check_pack(path, request)
            for extent in request.extents:
                if stop.is_set():
                    return
                if error is not None:
                    yield Failed(request=request, extent=extent, source=self.name, error=error)
                    continue
                yield Delivered(
                    request=request,
                    extent=extent,
                    path=path,
                    start=extent.offset,
                    moved=extent.length,
                    source=self.name,
                    temporary=False,
                )


def _check_pack(path: Path, request: PackRequest) -> PtmError | None:
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return NotFound(f"`{path}` does not exist")
    except OSError as error:
        return TransportError(f"`{path}` could not be read: {error.strerror or error}")
    if size != request.size:
        return IntegrityError(f"the pack `{path}` is {size} bytes, not {request.size}")
    return None
