"""A transfer says of every wanted object one thing: here it is, or why not."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ptmtorrent.errors import TransportError
from ptmtorrent.model.ids import ObjectId, PackId, object_id
from ptmtorrent.model.placement import Location
from ptmtorrent.model.plan import Extent, PackRequest, Plan, plan_moves
from ptmtorrent.model.records import ignore
from ptmtorrent.model.wanted import WantedObject
from ptmtorrent.reading.decode import Batch, DecodedObject, Decoder, OpenPack
from ptmtorrent.reading.deltas import Deltas, LocalObjects, Stored
from ptmtorrent.reading.sources import Sources
from ptmtorrent.reading.transfer import Missing, transfer
from ptmtorrent.stop import Stop
from ptmtorrent.store import codecs
from ptmtorrent.transports.port import Delivered, Failed

PACK = PackId("a" * 64)
BASE, TUNED = b"base" * 16, b"tune" * 16
SIZE = len(BASE)


def wanted(data: bytes, offset: int, base: bytes | None = None) -> WantedObject:
    at = Location(pack=PACK, pack_size=4 << 20, offset=offset, length=SIZE, codec=codecs.DELTA if base else codecs.RAW)
    return WantedObject(id=object_id(data), size=SIZE, at=at, base=None if base is None else object_id(base))


def deltas_of(folder: Path, missing: Sequence[WantedObject], bases: Sequence[WantedObject]) -> Deltas:
    folder.mkdir()
    nothing = LocalObjects(has=lambda _: False, read=lambda _: None, forget=lambda _: None, will_hold=lambda _: False)
    return Deltas(folder, missing, bases, nothing)


class Twice:
    """Delivers the extent of the base twice, right and then wrong, and fails for everything else."""

    name, whole_packs = "twice", False

    def __init__(self, base: WantedObject) -> None:
        self.base = base

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:  # noqa: ARG002
        extent = Extent(offset=self.base.at.offset, length=SIZE)
        for request in requests:
            if self.base in request.objects:
                for number, data in enumerate((BASE, b"\0" * SIZE)):
                    path = staging / f"copy-{number}"
                    path.write_bytes(data)
                    yield Delivered(
                        request=request, extent=extent, path=path, start=0, moved=SIZE, source="twice", temporary=False
                    )
            for item in request.objects:
                if item != self.base:
                    other = Extent(offset=item.at.offset, length=SIZE)
                    yield Failed(request=request, extent=other, source="twice", error=TransportError("it is away"))


def test_object_that_was_delivered_is_not_missing_when_a_second_copy_is_wrong(tmp_path: Path) -> None:
    base, tuned = wanted(BASE, 1 << 20), wanted(TUNED, 0, BASE)
    deltas = deltas_of(tmp_path / "incoming", [tuned], [base])
    plan = plan_moves([base, tuned], lambda _: False, bases={base.id: base})
    assert isinstance(plan, Plan)
    want = {base.id, tuned.id}

    outcomes = list(
        transfer(plan, Sources(here=Twice(base)), deltas, want, tmp_path, emit=ignore, stop=Stop())  # type: ignore[arg-type]
    )

    delivered = {outcome.id for outcome in outcomes if isinstance(outcome, DecodedObject)}
    missing = {outcome.id for outcome in outcomes if isinstance(outcome, Missing)}
    assert delivered == {base.id}
    assert missing == {tuned.id}


def test_waiting_delta_that_another_copy_of_its_base_released_blames_no_source(tmp_path: Path) -> None:
    base, tuned = wanted(BASE, 1 << 20), wanted(TUNED, 0, BASE)
    deltas = deltas_of(tmp_path / "incoming", [tuned], [base])
    request = PackRequest(pack=PACK, size=4 << 20, extents=(), objects=(tuned,))
    extent = Extent(offset=0, length=SIZE)
    came = Delivered(
        request=request, extent=extent, path=tmp_path / "pack", start=0, moved=SIZE, source="honest", temporary=False
    )
    assert deltas.park(Stored(item=tuned, path=came.path, start=0, source=came), b"\1" * SIZE)
    (first,) = deltas.arrived(ObjectId(base.id), BASE)
    (second,) = deltas.arrived(ObjectId(base.id), BASE)
    deltas.taken(tuned.id)
    assert first == second
    assert not second.path.exists()

    decoder, found = Decoder(deltas), Batch(None, last=False)
    decoder._decode_one(second, OpenPack(), found)
    decoder.close()

    assert (found.wrong, found.objects, found.lost) == ([], [], [])
