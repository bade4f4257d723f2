"""The text files of packages: model cards with front matter, configurations, vocabularies."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ptmtorrent.demo.package import LFS_SUFFIXES, PackageFile, text_file
from ptmtorrent.demo.tensors import Shape

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def gitattributes() -> PackageFile:
    """Return the `.gitattributes` that lists the suffixes of LFS files."""
    return text_file(
        ".gitattributes", "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
    )


def json_file(path: str, value: Any) -> PackageFile:  # noqa: ANN401  # any JSON
    """Return an indented JSON file, as the libraries write them."""
    return text_file(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def readme(title: str, front: Mapping[str, str | Sequence[str]], text: str, *, path: str = "README.md") -> PackageFile:
    """Return a model card: YAML front matter between `---` lines, then Markdown."""
    rows = []
    for key, value in front.items():
        rows += [f"{key}: {value}"] if isinstance(value, str) else [f"{key}:", *(f"- {item}" for item in value)]
    return text_file(path, "\n".join(["---", *rows, "---", f"# {title}", "", text, ""]))


def encoder_config(shape: Shape, dtype: str, architecture: str = "QuillModel") -> PackageFile:
    """Return the `config.json` of an encoder."""
    config = {
        "architectures": [architecture],
        "hidden_size": shape.hidden,
        "intermediate_size": 4 * shape.hidden,
        "max_position_embeddings": 64,
        "model_type": "quill",
        "num_attention_heads": 4,
        "num_hidden_layers": shape.layers,
        "torch_dtype": dtype,
        "vocab_size": shape.tokens,
    }
    return json_file("config.json", config)


def vocabulary(count: int) -> tuple[str, ...]:
    """Return `count` distinct tokens: the special ones, then syllables by length."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    pairs = [first + second for first in syllables for second in syllables]
    return (*SPECIAL_TOKENS, *syllables, *pairs)[:count]


def tokenizer_files(count: int) -> tuple[PackageFile, ...]:
    """Return `vocab.txt`, `tokenizer.json` and `tokenizer_config.json` of a word-piece tokenizer."""
    tokens = vocabulary(count)
    tokenizer = {
        "version": "1.0",
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {token: row for row, token in enumerate(tokens)}},
    }
    settings = {"do_lower_case": True, "model_max_length": 64, "tokenizer_class": "QuillTokenizer"}
    return (
        text_file("vocab.txt", "".join(f"{token}\n" for token in tokens)),
        json_file("tokenizer.json", tokenizer),
        json_file("tokenizer_config.json", settings),
    )
