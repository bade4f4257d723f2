"""The benchmark of the store (`scripts/bench-store`): frozen sets, peers, child processes, tables and checks."""
