"""No document of a channel, hub or package takes more than 64 MB of memory or two seconds, whatever it holds."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackId, SnapshotId
from ptmtorrent.model.placement import Form, Head, Location, decode_placement, encode_placement
from tests.deadline import deadline
from tests.faults.document_bombs import READERS
from tests.model.generated import manifest_of

ROOT = Path(__file__).parents[2]
MOST_MEMORY_MIB = 64
MOST_CPU_SECONDS = 2 * 3
"""Two seconds on a machine of its own; the tests share theirs."""

DEADLINE_SECONDS = 300
"""After which a bomb that takes hours fails the test."""

OWN_JSON = {
    "facts/findings/child.py",
    "facts/findings/scan.py",
    "facts/findings/scanner.py",
    "model/bounds.py",
    "model/canonical.py",
    "model/manifest.py",
    "hubs/huggingface/records.py",
    "hubs/onnx/adapter.py",
    "model/containers/safetensors.py",
    "workflows/clone/clone.py",
    "workflows/clone/known.py",
    "workflows/clone/plan.py",
    "workflows/export.py",
    "workflows/release/recall.py",
}
"""Modules that decode JSON themselves: behind a bound of their own, or of state that this program wrote."""


Bombs = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def explode() -> Iterator[Bombs]:
    """What a program answers that gives all bombs of a reader to it; it starts once for all readers."""
    command = [sys.executable, "-m", "tests.faults.document_bombs"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        asked, answers = program.stdin, program.stdout
        assert asked is not None
        assert answers is not None

        def answer(reader: str) -> list[str]:
            asked.write(f"{reader}\n")
            asked.flush()
            with deadline(DEADLINE_SECONDS):
                return list(takewhile(str.strip, answers))

        yield answer
        program.kill()


@pytest.mark.parametrize("reader", READERS)
def test_document_of_any_kind_takes_bounded_memory_and_time(explode: Bombs, reader: str) -> None:
    rows = [json.loads(line) for line in explode(reader)]
    assert rows
    for kind, size, grown, seconds, end in rows:
        assert not end.startswith("raised"), (kind, end)
        assert grown + (size >> 20) <= MOST_MEMORY_MIB, (kind, size, grown)
        assert seconds <= MOST_CPU_SECONDS, (kind, seconds)


def test_bomb_that_is_refused_is_named_with_the_memory_it_would_take() -> None:
    bomb = b'{"a":[' + b"[]," * 1_000_000 + b"[]]}"

    with pytest.raises(IntegrityError, match=r"`x` is refused: its 3\.0 MB hold parts that would .* limit of 67\.1 MB"):
        canonical.decode(bomb, Head, name="x")


def test_placement_of_a_hundred_thousand_objects_is_read() -> None:
    files = [(f"{number:06}", number.to_bytes(4, "little")) for number in range(1000)]
    manifest = manifest_of("hf:org/name", files)
    manifest = msgspec.structs.replace(manifest, objects=manifest.objects * 100)
    at = Location(pack=PackId("a" * 64), pack_size=1 << 30, offset=4_000_000, length=4, codec=0)
    snapshot = SnapshotId("b" * 64)
    data = encode_placement(snapshot, [(Form(at=at),)] * 100_000)

    assert decode_placement(data, manifest, snapshot).form(99_999) == Form(at=at)


def test_json_from_outside_is_decoded_in_one_place() -> None:
    found = {
        path.relative_to(ROOT / "ptmtorrent").as_posix()
        for path in (ROOT / "ptmtorrent").rglob("*.py")
        if re.search(r"json\.(decode|loads?|Decoder|JSONDecoder)\(", path.read_text())
    }
    assert {path for path in found if not path.startswith("demo/")} <= OWN_JSON
