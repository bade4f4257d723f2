"""What `scripts/bench-scale` is made of: synthetic homes, measured processes, a counting web server, tables."""
