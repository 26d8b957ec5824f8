"""The coder's desk: a service on one's own machine, its page, and the record of every decision.

`app` puts it together; `scoring_queue` scores what waits; `record` keeps the events; `review` folds them into what a
note's review looks like; `coding_api`, `notes_api`, `codes_api`, `export_api` and `cds_hooks` answer requests. It knows
the coder, never gold codes. Nothing here opens a connection to anywhere but the record's database.
"""
