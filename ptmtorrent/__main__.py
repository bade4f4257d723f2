"""`python -m ptmtorrent` is the same program as `ptmtorrent`."""

from ptmtorrent.cli.main import main

if __name__ == "__main__":
    main()
