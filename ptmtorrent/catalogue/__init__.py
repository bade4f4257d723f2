"""The contents of a release: its Parquet tables, and its index of packages.

::

    columns -> tables -> query          packages.parquet, files.parquet
    index                               content and placement shards

`columns` defines the columns of the tables and builds rows from captures and manifests, `tables` writes the tables of a
release that is being made, `query` reads them for `list`. `index` finds packages and subsets in the shards of a
release, and reads their manifests and placements.

Invariants: DuckDB can access only the files it is given. Everything that `index` returns was checked against a hash
that `release.json` covers.
"""
