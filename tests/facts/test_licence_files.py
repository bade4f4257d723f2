"""The licence that a package's own files state: cards, licence texts, and what is not recognised."""

from pathlib import Path

import pytest

from ptmtorrent.facts.licence_texts import name_licence
from ptmtorrent.facts.licences import choose_evidence, is_evidence, licence_in_files, read_licence

MIT = (
    b"MIT License\n\nCopyright (c) 2026 A\n\n"
    b"Permission is hereby granted, free of charge, to any person obtaining a copy of this software.\n"
)
COMMON = Path("/usr/share/common-licenses")


def card(front: str) -> bytes:
    return f"---\n{front}\n---\n# A model\n".encode()


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: mit", "mit"),
        ("license: 'MIT'", "MIT"),
        ("license:\n- mit\n- apache-2.0\ntags: [a]", "mit AND apache-2.0"),
        ("license: [mit, apache-2.0]", "mit AND apache-2.0"),
        ("tags: {a: *b, ]\nlicense: mit", "mit"),
        ("license: other\nlicense_name: mit", "other"),
        ("license:", None),
        ("license_name: mit", None),
        ("model:\n  license: mit", None),
        ("license: &a mit", "other"),
        ("license: {mit: true}", "other"),
        ("license: 3", "other"),
        ("license: |\n  mit\n  but not for the weights", "other"),
        ("license: mit\nlicense: llama2", "mit AND llama2"),
    ],
)
def test_front_matter_of_a_card_states_the_licence(front: str, licence: str | None) -> None:
    assert licence_in_files({"README.md": card(front)}) == licence
    assert licence_in_files({"README.md": b"\xef\xbb\xbf" + card(front).replace(b"\n", b"\r\n")}) == licence


@pytest.mark.parametrize(
    "text", [b"license: mit\n", b"# A model\n---\nlicense: mit\n---\n", b"---\nlicense: mit\n", b""]
)
def test_text_without_front_matter_states_nothing(text: bytes) -> None:
    assert licence_in_files({"README.md": text}) is None


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"LICENSE": MIT}, "mit"),
        ({"LICENSE": MIT, "README.md": card("license: apache-2.0")}, "mit AND apache-2.0"),
        ({"LICENSE": b"All rights reserved.", "README.md": card("license: mit")}, "other AND mit"),
        ({"LICENSE": MIT, "part/LICENSE": b"For research purposes only."}, "mit AND other"),
        ({"LICENSE": MIT, "part/README.md": card("license: cc-by-nc-4.0")}, "mit AND cc-by-nc-4.0"),
        ({"part/LICENSE": MIT}, None),
        ({"LICENSE": None}, "other"),
        ({"LICENSE": b" \n"}, None),
        ({"LICENSE": MIT + b"The Software may be used for Good, not Evil."}, "other"),
        ({"LICENSE": b"Commons Clause\n\n" + MIT}, "other"),
        ({"LICENSE": MIT + b"\n" * 20_000 + b"No non-commercial use."}, "other"),
    ],
)
def test_every_stated_licence_applies_and_an_unrecognised_one_is_not_open(
    files: dict[str, bytes | None], licence: str | None
) -> None:
    assert licence_in_files(files) == licence


def test_files_that_were_not_read_are_not_open() -> None:
    chosen, more = choose_evidence(f"part{index:03}/LICENSE" for index in range(65))
    assert (len(chosen), more) == (64, True)
    assert read_licence(licence_in_files({"LICENSE": MIT}, more=True), gated=False).rights == "unknown"
    assert choose_evidence(["b/LICENSE", "LICENSE", "model.bin"]) == (["LICENSE", "b/LICENSE"], False)


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "LICENSE",
        "license.txt",
        "LICENCE.md",
        "LICENSE-MIT",
        "LICENSE.apache",
        "MIT-LICENSE.txt",
        "COPYING",
    ],
)
def test_cards_and_licence_texts_are_evidence(path: str) -> None:
    assert is_evidence(path)
    assert is_evidence(f"part/{path}")


@pytest.mark.parametrize("path", ["license.py", "license_plates.txt", "READMEs.md", "licensed/a.txt", "model.bin", ""])
def test_other_files_are_no_evidence(path: str) -> None:
    assert not is_evidence(path)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("GPL-2", "gpl-2.0"),
        ("GPL-3", "gpl-3.0"),
        ("LGPL-2.1", "lgpl-2.1"),
        ("LGPL-3", "lgpl-3.0"),
        ("MPL-2.0", "mpl-2.0"),
        ("CC0-1.0", "cc0-1.0"),
    ],
)
def test_full_text_is_named_by_its_title_and_not_with_added_terms(file: str, name: str) -> None:
    if not (COMMON / file).is_file():
        pytest.skip("the texts of Debian are not here")
    text = (COMMON / file).read_text()
    assert name_licence(text) == name
    assert name_licence(text + "\nNon-commercial use only. " + "And more. " * 40) is None
    assert name_licence(f"The weights may not be used. {text}") in {None, "apache-2.0"}


def test_text_of_a_restricted_licence_is_named() -> None:
    assert (
        name_licence("Creative Commons Attribution-NonCommercial 4.0 International\n\nCreative Commons")
        == "cc-by-nc-4.0"
    )
    assert name_licence("Attribution 4.0 International\n\n=====\n\nCreative Commons Corporation") == "cc-by-4.0"
