"""Columns of wanted objects: what the placements of packages say, row by row."""

import numpy as np
import pytest

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.placement import Form, Placement, decode_placement, encode_placement
from ptmtorrent.model.wanted import ObjectTable
from tests.model.test_placement import BOTH, DELTA, MANIFEST, PLAIN, SNAPSHOT, place


def placement_of(*forms: tuple[Form, ...]) -> Placement:
    return decode_placement(encode_placement(SNAPSHOT, forms), MANIFEST, SNAPSHOT)


@pytest.mark.parametrize("forms", [PLAIN, DELTA, BOTH])
def test_every_row_has_the_first_form_of_its_object(forms: tuple[tuple[Form, ...], ...]) -> None:
    table = ObjectTable()

    table.add(MANIFEST, placement_of(*PLAIN), [(0, 2)])
    table.add(MANIFEST, placement_of(*forms), [(1, 1), (0, 1)])

    found = [table.item(row) for row in range(2, 4)]
    assert [(item.id, item.size) for item in found] == [MANIFEST.objects[1], MANIFEST.objects[0]]
    assert [item.at for item in found] == [forms[1][0].at, forms[0][0].at]
    assert [item.base for item in found] == [each[0].base and each[0].base.id for each in (forms[1], forms[0])]
    for item in table.deltas(np.arange(len(table))):
        base = next(each[0].base for each in forms if each[0].base)
        assert item.base == base.id
        assert table.base_item(0).at == base.at


def test_other_forms_are_kept_beside() -> None:
    table = ObjectTable()
    table.add(MANIFEST, placement_of(*BOTH), [(0, 2)])

    expected = [(row, form) for row, forms in enumerate(BOTH) for form in forms[1:]]
    assert [each.row for each in table.alternatives] == [row for row, _ in expected]
    for other, (_, form) in zip(table.alternatives, expected, strict=True):
        assert table.packs[other.pack] == form.at.pack
        assert (other.offset, other.length, other.codec) == (form.at.offset, form.at.length, form.at.codec)


def test_a_pack_of_two_sizes_is_refused_and_nothing_is_added() -> None:
    table = ObjectTable()
    table.add(MANIFEST, placement_of(*PLAIN), [(0, 2)])
    before = len(table), list(table.packs)
    at = place("weights", 0, 3)
    lying = type(at)(pack=at.pack, pack_size=8 << 20, offset=0, length=3, codec=0)

    with pytest.raises(IntegrityError, match="elsewhere"):
        table.add(MANIFEST, placement_of((Form(at=lying),), (Form(at=lying),)), [(0, 2)])
    assert (len(table), list(table.packs)) == before
