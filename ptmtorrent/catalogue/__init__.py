"""The contents of a release: its Parquet tables, and its index of packages.

::

    columns -> tables -> query          packages.parquet, files.parquet
    index                               tree, shards of rows, documents

`columns` defines the columns of the tables and builds rows from captures and manifests, `tables` writes the tables of a
release that is being made, `query` reads them for `list`. `index` finds packages and subsets in the shards of a
release, and reads their documents: a manifest and a placement each. `member_list` has many members as columns.

Invariants: DuckDB can access only the files it is given. Everything that `index` returns was checked against
`release.json`: members by the root of the members, documents by the hash in their row.
"""
