"""Facts of all real documents: counted against their own text, and the same wherever they are shown."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ptmtorrent.catalogue.columns import rows_of
from ptmtorrent.catalogue.query import PackageRow, list_packages, list_rows
from ptmtorrent.catalogue.tables import TableWriter
from ptmtorrent.exports.ptmtorrent_json import hub_json, uniform_json
from ptmtorrent.hubs.facts import Answer
from ptmtorrent.hubs.record import ANSWER, build_record, facts_of, read_answer
from ptmtorrent.model.uniform_record import Facts
from tests.exports.rows import capture_of
from tests.real_documents import DOCUMENTS, EXPLAINED, REAL, Document, counts, documents, render

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the real documents are not in ../shared/data")
TOP = Path(__file__).parents[2]
UNIFORM = {
    "url": "ModelURL",
    "owner": "ModelOwner",
    "owner_url": "ModelOwnerURL",
    "task": "ModelTask",
    "architecture": "ModelArchitecture",
    "papers": "ModelPaperDOIs",
}
LISTED = {"owner": "author"}
DERIVED = {"datasets", "papers", "owner_url", "owner"}
"""Fields that are a part of what their source leads to."""


@pytest.mark.parametrize("prefix", DOCUMENTS)
def test_every_fact_that_a_document_holds_is_in_its_record(prefix: str) -> None:
    different = {(each.hub, each.field) for each in counts(prefix) if each.held != each.had}
    assert different == {key for key in EXPLAINED if key[0] == prefix}


def test_the_page_of_facts_is_what_is_counted() -> None:
    assert (TOP / "docs/facts.md").read_text() == render()


@pytest.mark.parametrize("prefix", DOCUMENTS)
def test_listing_table_and_exports_agree_on_every_value(prefix: str, tmp_path: Path) -> None:
    found = {document.listed.name: document for document in documents(prefix)}
    table = _write(prefix, found, tmp_path)
    rows = {row.name: row for row in list_rows(table, PackageRow, len(found))}
    assert rows.keys() == found.keys()
    lists = list_packages(table, len(found))
    assert all(facts.task == rows[facts.package.partition(":")[2]].task for facts in lists)
    for name, document in found.items():
        facts = facts_of(build_record(prefix, document.listed, commit=document.listed.commit or "c" * 40))
        _compare(facts, document, rows[name])


def _write(prefix: str, found: dict[str, Document], folder: Path) -> Path:
    with TableWriter(folder, 1) as writer:
        for name in sorted(found):
            writer.add(rows_of(*capture_of(prefix, found[name].listed)))
        packages, _ = writer.finish()
    return packages


def _compare(facts: Facts, document: Document, row: PackageRow) -> None:
    uniform = uniform_json(row, 0)
    sources = msgspec.json.decode(row.sources or "{}")
    for field, fact in facts.items():
        shown: Any = getattr(row, field)
        expected = fact.value if field != "modified" else _moment(str(fact.value))
        assert (tuple(shown) if isinstance(shown, (list, tuple)) else shown) == expected, (row.package, field)
        assert sources[field] == fact.source
        exported = uniform[UNIFORM[field]] if field in UNIFORM else uniform.get(field, shown)
        assert (tuple(exported) if isinstance(exported, list) else exported) == expected
        if (listed := LISTED.get(field, field)) in {
            "author",
            "licence",
            "downloads",
            "likes",
            "task",
            "tags",
            "library",
        }:
            assert getattr(document.listed, listed) == fact.value
    assert sources.keys() == facts.keys()
    assert uniform["package"] == row.package
    assert uniform["LatestGitCommitSHA"] == (row.commit or "")
    for own in hub_json(row, read_answer(document.listed.raw)):
        assert own.get("ModelDescription", row.description) == row.description
        assert own.get("pipeline_tag", row.task) == row.task


def _moment(text: str) -> str:
    return re.sub(r"Z$", "000", text)


@pytest.mark.parametrize("prefix", ["hf", "modelhub"])
def test_a_source_leads_to_the_value(prefix: str) -> None:
    checked = 0
    for document in documents(prefix):
        answer = Answer(ANSWER.get(prefix, "record"), read_answer(document.listed.raw))
        for field, fact in facts_of(build_record(prefix, document.listed)).items():
            name, sign, pointer = fact.source.partition("#")
            if sign and name == ANSWER.get(prefix, "record") and field not in DERIVED and ", " not in pointer:
                value = answer.at(pointer)
                value = value.removeprefix("license:") if field == "licence" and isinstance(value, str) else value
                assert (tuple(value) if isinstance(value, list) else value) == fact.value, (document.listed.name, field)
                checked += 1
    assert checked > 100
