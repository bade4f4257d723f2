"""The command line: one file a verb, named as the verb; the only room that imports Typer and rich.

A verb reads its options into typed values, opens what its workflow needs, calls the workflow of the same name, and
prints rows. `main` has the global options, calls a verb and turns errors into exit codes. `_session` carries settings,
home and sink through a run. `_output` says what a sink is, and `_human`, `_json` and `_quiet` are the sinks; `_tables`,
`_bars` and `_text` make lines of text; `_options` and `_completion` read the command line.

Invariant: `--help` and completion of verbs import nothing heavier than Typer, so workflows are imported inside verbs.
"""
