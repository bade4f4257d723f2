"""The programs compared with, with the settings that their documentation recommends for speed and size.

A command sees `$SET` (a folder of files), `$STORED` (where its store goes), `$OUT` (where files come back to) and
`$SCRATCH` (for what it wants to keep aside, which is not counted).
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

INDEXED_BIN = Path(__file__).resolve().parent.parent.parent / ".venv-peers" / "bin"
"""The programs of the peers that come from the package index."""


@dataclass(frozen=True)
class Peer:
    """A program: its name in tables, the executable, the Debian package, and the commands to run.

    One with `pip` is in an environment of its own, whose programs are in `$BIN`.
    """

    name: str
    program: str
    ingest: str
    restore: str
    apt: str = ""
    pip: str = ""
    prepare: str = ":"
    version: tuple[str, ...] = ("--version",)
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> bool:
        """Return whether the program is not installed."""
        return shutil.which(self.program) is None

    def command(self, script: str) -> list[str]:
        """Return the command that runs `script`."""
        return ["bash", "-euo", "pipefail", "-c", script]

    def environment(self, *, files: Path, stored: Path, out: Path, scratch: Path) -> dict[str, str]:
        """Return the environment of the commands, without the user's own settings and stores."""
        places = {"SET": files, "STORED": stored, "OUT": out, "SCRATCH": scratch, "HOME": scratch, "BIN": INDEXED_BIN}
        own = {name: value.replace("$SCRATCH", str(scratch)) for name, value in self.env.items()}
        return (
            {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"} | {key: str(path) for key, path in places.items()} | own
        )

    def spell_version(self) -> str:
        """Return the first line of the program's version output."""
        done = subprocess.run([self.program, *self.version], capture_output=True, text=True, check=False)
        line = (done.stdout or done.stderr).strip().partition("\n")[0]
        words = [word.strip("v,") for word in line.split() if word.strip("v,")[:1].isdigit()]
        return words[0] if words else line


PEERS = (
    Peer(
        name="restic",
        program="restic",
        apt="restic",
        version=("version",),
        prepare='restic -r "$STORED" init --repository-version 2',
        ingest='restic -r "$STORED" backup "$SET" --compression auto',
        restore='restic -r "$STORED" restore latest --target "$OUT"',
        env={"RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": "$SCRATCH/restic"},
    ),
    Peer(
        name="borg zstd,3",
        program="borg",
        apt="borgbackup",
        prepare='rmdir "$STORED" && borg init -e none "$STORED"',
        ingest='borg create -C zstd,3 "$STORED::a" "$SET"',
        restore='cd "$OUT" && borg extract "$STORED::a"',
        env={"BORG_BASE_DIR": "$SCRATCH/borg", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"},
    ),
    Peer(
        name="casync zstd",
        program="casync",
        apt="casync",
        ingest='casync make --compression=zstd --store="$STORED/chunks.castr" "$STORED/set.caidx" "$SET"',
        restore='casync extract --store="$STORED/chunks.castr" "$STORED/set.caidx" "$OUT"',
    ),
    Peer(
        name="zstd -3 each file",
        program="zstd",
        apt="zstd",
        ingest='for f in "$SET"/*; do zstd -q -3 -T2 -c "$f" > "$STORED/${f##*/}.zst"; done',
        restore='for f in "$STORED"/*.zst; do g=${f##*/}; zstd -q -dc "$f" > "$OUT/${g%.zst}"; done',
    ),
    Peer(
        name="zstd -3 --long=30",
        program="zstd",
        apt="zstd",
        ingest='cat "$SET"/* | zstd -q -3 --long=30 -T2 -c > "$STORED/all.zst"',
        restore='zstd -q -dc --long=30 "$STORED/all.zst" > "$OUT/all"',
    ),
    Peer(
        name="tar + zstd -3",
        program="zstd",
        apt="zstd",
        ingest='tar -C "$SET" -cf - . | zstd -q -3 -T2 -c > "$STORED/all.tar.zst"',
        restore='zstd -q -dc "$STORED/all.tar.zst" | tar -C "$OUT" -xf -',
    ),
)

_CODECS = f'"$BIN/python" "{Path(__file__).with_name("codec_peer.py")}"'


def _each(compress: str, decompress: str) -> dict[str, str]:
    return {
        "ingest": f'for f in "$SET"/*; do o="$STORED/${{f##*/}}"; {compress}; done',
        "restore": f'for f in "$STORED"/*; do o="$OUT/${{f##*/}}"; {decompress}; done',
    }


INDEXED = (
    Peer(
        name="lmzip",
        program="lmz",
        pip="lmzip",
        **_each('"$BIN/lmz" compress -q -f "$f" "$o"', '"$BIN/lmz" decompress -q -f "$f" "$o"'),
    ),
    Peer(
        name="glyd max",
        program="glyd",
        pip="glyd",
        ingest=f'{_CODECS} glyd compress "$SET" "$STORED"',
        restore=f'{_CODECS} glyd decompress "$STORED" "$OUT"',
    ),
    Peer(
        name="zipnn",
        program="zipnn",
        pip="zipnn",
        ingest=f'{_CODECS} zipnn compress "$SET" "$STORED"',
        restore=f'{_CODECS} zipnn decompress "$STORED" "$OUT"',
    ),
    Peer(
        name="z4ai",
        program="z4ai",
        pip="z4ai",
        **_each('"$BIN/z4ai" compress -q -o "$o" "$f"', '"$BIN/z4ai" decompress -q -o "$o" "$f"'),
    ),
)
"""Codecs for weights, of the package index."""
