"""The parsers of containers beside the formats' own libraries (`scripts/compare-parsers`)."""
