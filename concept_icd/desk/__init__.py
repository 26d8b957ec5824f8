"""The coder's desk: a service on one's own machine, its page, and the record of every decision.

`app` puts it together; `queue` scores what waits; `record` keeps the events, and `review` says what the events of a
note come to; the modules of `api` answer requests behind `middleware`; `telemetry` counts. The desk knows the coder,
never gold codes. Nothing here opens a connection to anywhere but the record's database.
"""
