"""Who signed what: TUF roles, keys, minisign, and the client that checks them."""
