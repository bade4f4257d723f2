"""Golden files pin the formats: `codecs.json` what payloads decode to, `pack.bin` a whole pack but for its padding.

What zstd writes differs between its versions, so payloads are read from the file and never written anew here.
"""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from ptmtorrent.store import codecs
from ptmtorrent.store.codecs import kernel
from ptmtorrent.store.pack.format import PackInfo
from ptmtorrent.store.pack.hashes import read_sidecar, sidecar_in, write_sidecar
from ptmtorrent.store.pack.reader import hash_pack, open_pack
from ptmtorrent.store.pack.writer import new_part
from tests.store.samples import META, append, name_of
from tests.store.vectors import DELTAS, RAW, weights

GOLDEN = Path(__file__).parents[1] / "golden"
INFO = PackInfo(libraries={"libzstd": "1.5.7", "zstandard": "0.25.0"}, parameters={"zstd": "level=3"})
PIECE = 16 << 10


def payloads() -> dict[int, bytes]:
    vectors = json.loads((GOLDEN / "codecs.json").read_text())
    return {codec: base64.b64decode(vectors[str(codec)]["payload"]) for codec in RAW}


@pytest.mark.parametrize("codec", RAW)
def test_every_codec_still_reads_what_it_wrote(codec: int) -> None:
    raw = RAW[codec][1]()
    vector = json.loads((GOLDEN / "codecs.json").read_text())[str(codec)]
    assert (len(raw), blake3(raw).hexdigest()) == (vector["raw_size"], vector["raw_blake3"])
    assert codecs.decode(codec, base64.b64decode(vector["payload"]), len(raw)) == raw


@pytest.mark.parametrize("codec", DELTAS)
def test_every_delta_still_leads_to_its_codec_and_is_read(codec: int) -> None:
    dtype, raw, base = DELTAS[codec]
    vector = json.loads((GOLDEN / "codecs.json").read_text())[str(codec)]
    assert (len(raw()), blake3(raw()).hexdigest()) == (vector["raw_size"], vector["raw_blake3"])
    assert blake3(base()).hexdigest() == vector["base_blake3"]
    assert codecs.decode(codec, base64.b64decode(vector["payload"]), len(raw()), base()) == raw()
    encoded = codecs.encode_delta(raw(), base(), dtype)
    assert encoded is not None
    assert encoded.codec == codec


@pytest.mark.parametrize("codec", RAW)
def test_every_dtype_still_leads_to_its_codec(codec: int) -> None:
    dtype, raw = RAW[codec]
    assert codecs.encode(raw(), dtype).codec == codec


@pytest.mark.parametrize(
    ("dtype", "width", "rotated", "pinned"),
    [
        ("BF16", 2, True, "661064159c91e89123a7ce523c58eaa1"),
        ("F16", 2, False, "be3260daa86040ac0b7c40360b744b96"),
        ("F32", 4, True, "0c51d46012001c26e3bbfc90c9d81b3b"),
        ("F64", 8, False, "9fc5eac1091d061ba8addf1b8ab51c47"),
    ],
    ids=["BF16", "F16", "F32", "F64"],
)
def test_planes_are_split_as_ever(dtype: str, width: int, rotated: bool, pinned: str) -> None:
    data = np.frombuffer(weights(dtype)[:-1], np.uint8)
    found = np.empty((width, data.size // width), np.uint8)
    kernel.chosen().split(data, list(found), rotated)
    assert blake3(found.tobytes()).hexdigest()[:32] == pinned


def test_the_literal_payload_of_the_format_page() -> None:
    literal = bytes.fromhex("0214000001000000 0200008002000080 7f7f 0001 7f")
    raw = bytes.fromhex("803f80bf7f")
    assert b"".join(codecs._split(memoryview(raw), codecs.BF16)) == literal
    assert codecs._join(memoryview(literal), len(raw), codecs.BF16) == raw


def write_golden_pack(folder: Path) -> Path:
    part = new_part(folder / "meta-open.part", META)
    for codec, payload in payloads().items():
        raw = RAW[codec][1]()
        kind = "manifest" if codec == codecs.ZSTD else "data"
        append(part, raw, codec, payload, kind)
    part.finish(INFO)
    return part.path


def test_a_pack_is_written_as_ever(tmp_path: Path) -> None:
    written = write_golden_pack(tmp_path).read_bytes()
    golden = (GOLDEN / "pack.bin").read_bytes()
    assert written == golden + bytes(-len(golden) % PIECE)


def test_the_golden_pack_is_read_by_footer_and_by_scan(tmp_path: Path) -> None:
    golden = (GOLDEN / "pack.bin").read_bytes()
    path = tmp_path / "golden.pack"
    path.write_bytes(golden + bytes(-len(golden) % PIECE))
    with open_pack(path) as reader:
        assert [reader.object(entry) for entry in reader.footer()] == [raw() for _, raw in RAW.values()]
        assert [found.entry for found in reader.scan()] == list(reader.footer())
        assert reader.header()[0] == META


def test_the_hashes_of_the_golden_pack_are_kept_as_ever(tmp_path: Path) -> None:
    golden = (GOLDEN / "pack-hashes.json").read_bytes()
    path = write_golden_pack(tmp_path)
    hashes = hash_pack(path, name_of(path.read_bytes()))
    write_sidecar(tmp_path, hashes, own=True)
    assert sidecar_in(tmp_path, hashes.pack).read_bytes() == golden
    assert read_sidecar(tmp_path, hashes.pack) == (hashes, True)
