"""Frozen values and pure functions: what a snapshot, a release and a plan are. No I/O happens here."""
