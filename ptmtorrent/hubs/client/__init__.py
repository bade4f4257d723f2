"""The HTTP client of a hub: sends requests within the limits of the hub, and downloads files that survive a kill.

::

    ssrf, status_errors, rate_limiter -> session -> download

In comes a URL with the class of its request; out come a reply, a JSON document or a complete file. `rate_limiter` keeps
within the request windows that replies state, `ssrf` refuses internal addresses, `status_errors` maps status codes to
errors, and `session` sends requests, follows redirects and retries. `download` completes one file. Beside them,
`redact` removes e-mail addresses, and `watchdog` leaves a library that waits for a server without end.

Invariants: credentials are sent only to the origin of the first request. A request is counted before it is sent.
"""
