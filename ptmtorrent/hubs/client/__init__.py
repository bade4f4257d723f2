"""One hub's HTTP client: session, rate limits, status codes, downloads."""
