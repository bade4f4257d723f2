"""The tables of a release, as Parquet."""
