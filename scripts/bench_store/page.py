"""The page of benchmarks: how to read it, what ran on what, and the tables."""

from pathlib import Path

from bench_store.bench import Bench
from bench_store.tables import Table

_HEAD = """\
# Benchmarks

Written by `scripts/bench-store --markdown docs/benchmarks.md`, the last part by `scripts/bench-clone`; nothing here is
typed in by hand. Measure your own machine with `scripts/bench-store`, or with `--quick` in a minute, on smaller data
whose ratios are not those below.

How to read it:

- Data is generated, the same bytes on every machine (the hashes in the first table say so), with the shapes and
  distributions of trained weights. *Siblings* are one bf16 model, a light fine-tune of it, a variant with other last
  layers, and the model again in three shards of another order. The fine-tunes are synthetic, their noise independent:
  a real one may give another ratio.
- MB are 10^6 raw bytes. *Per CPU-second* counts user and system time of all threads and child processes: of a whole
  program among the peers, start of the interpreter included; of the work alone in the tables of hashes and restores.
  There the first run is not counted: it reads libraries and files for the first time. *Copied* is what `cp` takes to
  write the same files, so that what the disk costs can be told from what the store costs.
- Systems take turns within one run; a value is the median of the rounds, and a peak of memory the largest of them.
  Where other programs took a good part of the cores (the table of the machine says so), wall times and the gain by a
  second core are worth little.
- *Ours* hashes every file by BLAKE3 and SHA-256, every object by BLAKE3, every pack by BLAKE3, SHA-1 and SHA-256, and
  syncs to disk; two files are added at a time. Coming back, every object and every file is checked. What peers check is
  theirs to say; that they give back the same bytes is checked here, outside the measured time.
- *Base declared*: a fine-tune names its base, which is stored first. *Base found*: the store finds it by itself.
  *No delta*: every object stands alone.
- *Stored* is what all files of a store take on the disk, indices included. The padding of a pack to a multiple of 4 MiB
  is a hole, which takes nothing.
- In the table of hashes a hash is switched off by a stand-in that reads nothing; the program has no such switch.
"""


OTHERS = "<!-- what follows was written by scripts/bench-clone -->"
"""Stands between the two parts of the page, each of which is written without touching the other."""


def put_page(page: Path, text: str) -> None:
    """Write the first part of the page."""
    _, mark, rest = (page.read_text() if page.exists() else "").partition(OTHERS)
    page.write_text(f"{text}\n{mark}{rest}" if mark else text)


def put_part(page: Path, text: str) -> None:
    """Write the last part of the page."""
    first = (page.read_text() if page.exists() else "").partition(OTHERS)[0]
    page.write_text(f"{first.rstrip()}\n\n{OTHERS}\n\n{text.rstrip()}\n".lstrip())


def write_page(bench: Bench, machine: list[tuple[str, str]], tables: list[Table]) -> str:
    """Return the page as Markdown."""
    facts = Table("Machine", ("", ""), [[what, which] for what, which in machine])
    peers = Table(
        "Peers",
        ("peer", "version", "stores", "gives back"),
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
        else [f"This is a run on `{bench.scale.name}` data: its ratios mean nothing.\n"]
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
