"""Where files are cut is frozen: the ids of published snapshots follow from it."""

import json
from pathlib import Path

import pytest

from tests.store.cutters.samples import cut_sample, samples

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "cutters.json").read_text())
SAMPLES = {name: sample for name, sample in samples().items() if name not in {"zip", "npz"}}
"""What zlib and numpy write may differ between their versions."""


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_is_cut_where_it_was(name: str) -> None:
    found = cut_sample(SAMPLES[name])
    assert [[piece.length, piece.dtype] for piece in found.pieces] == GOLDEN[name]
