"""`store init`, `info`, `check`, `repair`, `gc` and `history`: maintenance of the store, one file a verb.

The workflows are in `workflows/maintain`, in files of the same names.
"""

import typer

from ptmtorrent.cli.store import check, gc, history, info, init, repair

app = typer.Typer()
verbs = typer.Typer(help="Inspect, check and repair the store.", no_args_is_help=True)
for verb in (init, info, check, repair, gc, history):
    verbs.add_typer(verb.app)
app.add_typer(verbs, name="store")
