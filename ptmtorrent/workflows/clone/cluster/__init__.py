"""A clone whose work is done by the workers of a cluster."""
