"""The one opener of SQLite files, used from several threads."""

import subprocess
import sys
from pathlib import Path

RACE = """
import sys, threading
from pathlib import Path
from ptmtorrent.disk.database import Database
from ptmtorrent.errors import StoreError

for number in range(40):
    path = Path(sys.argv[1]) / f"{number}.sqlite"
    base = Database(path, name="the numbers", schema="CREATE TABLE IF NOT EXISTS n (n);", any_thread=True)

    def write(base: Database = base) -> None:
        try:
            while True:
                base.run("INSERT INTO n VALUES (1)")
        except StoreError:
            pass

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    base.first("SELECT count(*) FROM n")
    base.close()
    for thread in threads:
        thread.join()
print("closed")
"""


def test_a_file_can_be_closed_while_other_threads_write(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", RACE, tmp_path], capture_output=True, text=True, timeout=100, check=False
    )

    assert (ended.returncode, ended.stdout) == (0, "closed\n"), ended.stderr
