"""Transfer packs with Globus, as tasks of the Transfer service or over a collection's HTTPS server.

`locations` parses `globus:` locations; `login` keeps tokens; `paced` keeps deadlines for the SDK; `service` wraps the
Transfer API; `jobs` is the durable journal of transfers, `run_job` advances one job, `wait` waits for its task;
`transport` verifies and installs the packs of a job; `https` reads a collection over HTTPS. Invariants: a document is
durable before it is posted, and a received file is hashed before it gets its name. No other room imports globus_sdk.
"""
