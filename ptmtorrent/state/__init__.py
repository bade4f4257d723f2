"""What a home remembers besides its store."""
