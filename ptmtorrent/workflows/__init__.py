"""Orchestration, one module a verb: no formats and no protocols of its own."""
