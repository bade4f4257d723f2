import json

import pytest

from ptmtorrent.errors import HubError
from ptmtorrent.hubs.client.redact import redact, redact_json
from ptmtorrent.hubs.huggingface.records import read_listed
from ptmtorrent.hubs.kaggle.records import read_models
from ptmtorrent.hubs.modelhub.adapter import read_registry
from ptmtorrent.hubs.modelzoo import read_catalogue
from ptmtorrent.hubs.pytorch.adapter import list_card
from ptmtorrent.hubs.tfhub.adapter import list_document
from ptmtorrent.hubs.tfhub.documents import read_document

WRITTEN = "by A <a.b+c@sub.hub.invalid>, mailto:d@hub.invalid"


def test_addresses_are_removed_from_nested_texts_and_member_names() -> None:
    value = {"a": [{"b": WRITTEN, "x@hub.invalid": 1}], "E-Mail": "e", "n": None}
    assert redact(value) == {"a": [{"b": "by A <>, ", "": 1}], "n": None}


def test_escaped_address_is_removed() -> None:
    assert redact_json(b'{"a": "d\\u0040hub.invalid"}') == b'{"a":""}'


@pytest.mark.parametrize("raw", [b'{ "a": 1.50 }', b'{"rfilename": "w@v1.bin"}', b'{"a": "a @ b, c@d"}'])
def test_json_without_addresses_stays_byte_for_byte(raw: bytes) -> None:
    assert redact_json(raw) == raw


def test_no_hub_keeps_an_address() -> None:
    hf = {"id": "o/m", "cardData": {"contact": WRITTEN, "email": "f@hub.invalid"}}
    kaggle = {
        "ref": "o/m",
        "subtitle": WRITTEN,
        "instances": [{"slug": "s", "framework": "keras", "overview": WRITTEN}],
    }
    document = f"# Module o/m/1\n{WRITTEN}\n".encode()
    found = [
        read_listed(json.dumps(hf).encode()),
        *read_catalogue(json.dumps({"models": [{"slug": "s", "long_desc": WRITTEN}]}).encode(), "x"),
        *read_registry(json.dumps([{"name": "m", "publication": {"text": WRITTEN}}]).encode()),
        *read_models({"models": [kaggle]}),
        list_card("c.md", WRITTEN.encode()),
        list_document(read_document("d.md", document), document),
    ]
    listed = [each for each in found if each is not None]
    assert len(listed) == 6
    assert [each.name for each in listed if "hub.invalid" in each.raw] == []


def test_record_that_is_nested_too_deep_is_a_project_error() -> None:
    deep = b'{"id": "o/m", "a@hub.invalid": ' + b"[" * 700 + b"]" * 700 + b"}"
    with pytest.raises(HubError):
        redact_json(deep)
