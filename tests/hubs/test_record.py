import gzip
import json
from pathlib import Path

import pytest

from ptmtorrent.errors import HubError
from ptmtorrent.hubs.huggingface.records import read_listed
from ptmtorrent.hubs.modelhub.adapter import read_registry
from ptmtorrent.hubs.modelzoo import read_catalogue
from ptmtorrent.hubs.port import Listed
from ptmtorrent.hubs.pytorch.adapter import list_card
from ptmtorrent.hubs.record import build_record
from ptmtorrent.model import canonical
from ptmtorrent.model.uniform_record import Count, Text, Texts, UniformRecord

REAL = Path(__file__).parents[2].parent / "shared/data"
real_records = pytest.mark.skipif(not REAL.is_dir(), reason="the real records are not here")


def test_every_value_says_where_it_was_read() -> None:
    raw = {
        "id": "o/m",
        "sha": "a" * 40,
        "tags": ["x", "license:mit", "dataset:d", "arxiv:1"],
        "downloads": 0,
        "likes": True,
    }
    record = build_record("hf", read_listed(json.dumps(raw).encode()))
    assert record.name == Text("o/m", "model_info#/id")
    assert record.owner == Text("o", "package")
    assert record.licence == Text("mit", "model_info#/tags/1")
    assert record.datasets == Texts(("d",), "model_info#/tags")
    assert record.papers == Texts(("arxiv:1",), "model_info#/tags")
    assert record.downloads == Count(0, "model_info#/downloads")
    assert record.likes is None
    assert record.owner_url == Text("https://huggingface.co/o", "package")


def test_record_survives_its_encoding() -> None:
    record = build_record("hf", Listed(name="o/m", raw='{"id":"o/m","tags":["t"]}'), commit="b" * 40)
    assert canonical.decode(canonical.encode(record), UniformRecord, name="record") == record
    assert record.revision == Text("b" * 40, "identity")


def test_catalogue_of_links_gives_owner_and_task() -> None:
    body = b'{"models":[{"slug":"s","title":"S","link":"https://forge/o/n","framework":"keras","stars":3,"categories":[{"title":"Graph"}]}]}'
    record = build_record("modelzoo", read_catalogue(body, "x")[0])
    assert (record.name, record.owner) == (Text("S", "record#/title"), Text("o", "record#/link"))
    assert record.task == Text("Graph", "record#/categories/0/title")
    assert record.owner_url == Text("https://forge/o", "record#/link")


def test_raw_answer_that_is_no_object_is_refused() -> None:
    with pytest.raises(HubError, match="not a JSON object"):
        build_record("hf", Listed(name="m", raw="[]"))


@real_records
def test_all_real_records_of_hugging_face_have_a_record() -> None:
    with gzip.open(REAL / "huggingface/hf-models-2022-02.sample.jsonl.gz") as lines:
        records = [build_record("hf", read_listed(line)) for line in lines]
    assert len(records) == 7358
    assert all(record.revision and record.url for record in records)
    assert sum(record.licence is not None for record in records) == 1903


@real_records
def test_all_real_cards_and_entries_have_a_record() -> None:
    cards = [card for card in sorted((REAL / "pytorch").glob("*.md")) if card.name not in {"template.md", "README.md"}]
    records = [build_record("pytorch", list_card(card.name, card.read_bytes())) for card in cards]
    assert len(records) == 52
    assert all(record.name.source == "record#/text title" and record.owner and record.url for record in records)
    entries = read_registry((REAL / "modelhub/models.json").read_bytes())
    assert sum(build_record("modelhub", entry).owner is not None for entry in entries) == 33
