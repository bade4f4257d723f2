"""The sample hub: an HTTP server that answers like Hugging Face, with faults and quotas for tests.

::

    catalogue -> facts, listing -> api, files -> exchange, faults, log -> origin

`catalogue` computes git ids and LFS oids of packages, `facts` and `listing` build records, `api` and `files` are the
routes. A route is a function from a `Request` to a `Response` (`exchange`). `faults` injects errors and quotas, `log`
records requests for tests, and `origin` is the HTTP server.
"""
