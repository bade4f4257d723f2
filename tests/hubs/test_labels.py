"""Records of twenty packages of each hub, compared with labels that were made by reading the hub's own documents."""

import csv
from pathlib import Path

import pytest

from ptmtorrent.hubs.record import build_record, facts_of
from tests.real_documents import DOCUMENTS, REAL, documents

LABELS = Path(__file__).parents[1] / "labels"


def labels(prefix: str) -> list[dict[str, str]]:
    with (LABELS / f"{prefix}.tsv").open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real documents are not in ../shared/data")
@pytest.mark.parametrize("prefix", DOCUMENTS)
def test_no_record_has_a_wrong_value(prefix: str) -> None:
    found = {document.listed.name: document.listed for document in documents(prefix)}
    rows = labels(prefix)
    assert len({row["name"] for row in rows}) == 20
    wrong = []
    for row in rows:
        facts = facts_of(build_record(prefix, found[row["name"]]))
        for field in row.keys() - {"name"}:
            value = facts[field].value if field in facts else ""
            shown = ";".join(sorted(value)) if isinstance(value, tuple) else str(value)
            expected = row[field] if not isinstance(value, tuple) else ";".join(sorted(row[field].split(";")))
            if shown != expected:
                wrong.append((row["name"], field, shown, expected))
    assert wrong == []
