import gzip
import json
from pathlib import Path

import pytest

from ptmtorrent.errors import HubError
from ptmtorrent.hubs.huggingface.records import read_listed
from ptmtorrent.hubs.modelhub.adapter import read_registry
from ptmtorrent.hubs.modelzoo import read_catalogue
from ptmtorrent.hubs.port import HubFile, Listed, mode_and_link, with_licence
from ptmtorrent.hubs.pytorch.adapter import list_card
from ptmtorrent.hubs.record import build_record, read_answer
from ptmtorrent.model import canonical
from ptmtorrent.model.manifest import EXECUTABLE_MODE, LINK_MODE, REGULAR_MODE
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
    assert (record.title, record.owner) == (Text("S", "record#/title"), Text("o", "record#/link"))
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
    assert all(
        record.title and record.title.source == "record#/text title" and record.owner and record.url
        for record in records
    )
    entries = read_registry((REAL / "modelhub/models.json").read_bytes())
    assert sum(build_record("modelhub", entry).owner is not None for entry in entries) == 33


@pytest.mark.parametrize("raw", ["{", "nan", "[" * 100_000, "\x00", '{"text":"\\ud800"}', '{"text":"\ud800"}'])
def test_raw_answer_that_is_no_json_is_refused(raw: str) -> None:
    with pytest.raises(HubError, match="the raw answer of a package is not JSON"):
        read_answer(raw)


@pytest.mark.parametrize(
    ("prefix", "answer", "title"),
    [
        ("pytorch", {"card": "a.md", "text": "---\ntitle: T\n---\n# x"}, Text("T", "record#/text title")),
        ("pytorch", {"card": "a.md", "text": "# no front matter"}, None),
        ("pytorch", {"card": "a.md", "text": "---\ntitle: [\n---\n"}, None),
        ("pytorch", {"card": "a.md", "text": "---\n- a list\n---\n"}, None),
        ("tfhub", {"handle": "google/x", "kind": "Module", "text": "no document"}, None),
    ],
)
def test_malformed_front_matter_states_nothing(prefix: str, answer: dict[str, str], title: Text | None) -> None:
    record = build_record(prefix, Listed(name="a", raw=json.dumps(answer)))
    assert (record.title, record.task, record.url) == (title, None, None)


@pytest.mark.parametrize(
    ("link", "licence"),
    [("text", "mit"), ("again", "other"), ("huge", "other"), ("unsized", "other"), ("nothing", "other")],
)
def test_licence_behind_a_link_is_that_of_the_file_it_leads_to(link: str, licence: str) -> None:
    files = [
        HubFile(path="LICENSE", size=9, oid="git:1", source="git", mode=LINK_MODE, link=link),
        HubFile(path="again", size=9, oid="git:2", source="git", mode=LINK_MODE, link="text"),
        HubFile(path="huge", size=1 << 40, oid="git:3", source="git"),
        HubFile(path="unsized", size=None, oid=None, source="url"),
        HubFile(path="text", size=11, oid="git:4", source="git"),
    ]
    asked: list[str] = []

    def read(file: HubFile) -> bytes:
        asked.append(file.path)
        return b"MIT License"

    assert with_licence(Listed(name="m"), files, read).licence == licence
    assert asked == (["text"] if link == "text" else [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"b.txt", (LINK_MODE, "b.txt")),
        (b"../x", (REGULAR_MODE, None)),
        (b"\xff", (REGULAR_MODE, None)),
        (b"", (REGULAR_MODE, None)),
        (None, (REGULAR_MODE, None)),
    ],
)
def test_link_that_a_manifest_cannot_have_is_an_ordinary_file(
    text: bytes | None, found: tuple[int, str | None]
) -> None:
    assert mode_and_link("a", LINK_MODE, text) == found
    assert mode_and_link("a", EXECUTABLE_MODE, text) == (EXECUTABLE_MODE, None)
