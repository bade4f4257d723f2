"""Exports: our records in the formats of other tools. Pure; the workflow writes the files.

In come uniform records and raw answers of hubs; out go JSON values. `ptmtorrent_json` builds the records of the
PTMTorrent data set of 2023, `shapes` reduces a foreign value to what its schemas allow.
"""
