"""What `scripts/bench-store` is made of: frozen sets, peers, the store in child processes, tables and checks."""
