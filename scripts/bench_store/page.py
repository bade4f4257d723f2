"""Writes the page of benchmarks: an introduction, the machine and the tables."""

from pathlib import Path

from bench_store.bench import Bench
from bench_store.tables import Table

_HEAD = """\
# Benchmarks

Written by `scripts/bench-store --markdown docs/benchmarks.md`, the last part by `scripts/bench-clone`; this page is
not edited by hand. To measure another machine run `scripts/bench-store`, or `scripts/bench-store --quick`, which takes
a minute and uses smaller data with other ratios.

How to read the tables:

- The data is generated and identical on every machine (see the hashes in the table of sets), with the shapes and
  distributions of trained weights. *Siblings* are one bf16 model, a light fine-tune of it, a variant with other last
  layers, and the same model in three shards in another order. The fine-tunes are synthetic, with independent noise:
  the ratio of a real fine-tune may differ.
- MB are 10^6 raw bytes. *Per CPU-second* counts the user and system time of all threads and child processes: of the
  whole program, including interpreter start, in comparisons with peers; of the work alone in the tables of hashes and
  restores, where the first run is not counted because it loads libraries and files. *Copied* is the speed at which `cp`
  writes the same files, to separate the cost of the disk from that of the store.
- Systems run in turn within each round; a value is the median of the rounds, a peak of memory their maximum. If other
  programs used much of the cores (see the table of the machine), wall times and the gain by a second core mean little.
- *Ours* hashes every file by BLAKE3 and SHA-256, every object by BLAKE3, every pack by BLAKE3, SHA-1 and SHA-256, and
  syncs to disk; two files are added at a time. A restore checks every object and every file. The peers have their own
  checks; that they restore the same bytes is verified here, outside the measured time.
- *Base declared*: a fine-tune names its base, which is stored first. *Base found*: the store finds the base by itself.
  *No delta*: every object is stored on its own.
- *Stored* is the disk space of all files of a store, including indices. The padding of a pack to whole pieces is
  a hole in the file and takes no space.
- In the table of hashes, a hash is disabled by replacing it with a stub; the program has no such option.
"""


OTHERS = "<!-- the rest is written by scripts/bench-clone -->"
"""Separates the two parts of the page, which are written independently."""


def put_page(page: Path, text: str) -> None:
    """Write the first part of the page and keep the last one."""
    _, mark, rest = (page.read_text() if page.exists() else "").partition(OTHERS)
    page.write_text(f"{text}\n{mark}{rest}" if mark else text)


def put_part(page: Path, text: str) -> None:
    """Write the last part of the page and keep the first one."""
    first = (page.read_text() if page.exists() else "").partition(OTHERS)[0]
    page.write_text(f"{first.rstrip()}\n\n{OTHERS}\n\n{text.rstrip()}\n".lstrip())


def write_page(bench: Bench, machine: list[tuple[str, str]], tables: list[Table]) -> str:
    """Return the page as Markdown."""
    facts = Table("Machine", ("", ""), [[what, which] for what, which in machine])
    peers = Table(
        "Peers",
        ("peer", "version", "ingest", "restore"),
        [
            [peer.name, peer.spell_version(), f"`{_cell(peer.ingest)}`", f"`{_cell(peer.restore)}`"]
            for peer in bench.peers
            if not peer.missing
        ],
    )
    left_out = [f"Not measured: {text}.\n" for text in bench.rows.missing]
    size = (
        []
        if bench.scale.name == "full"
        else [f"This run used `{bench.scale.name}` data: its ratios are meaningless.\n"]
    )
    parts = [
        _HEAD,
        *size,
        facts.as_markdown(),
        *(table.as_markdown() for table in tables),
        peers.as_markdown(),
        *left_out,
    ]
    return "\n".join(parts).rstrip() + "\n"


def _cell(script: str) -> str:
    return script.replace("|", "\\|")
