"""How a package is laid out for its user: an HF cache, or a plain folder."""
