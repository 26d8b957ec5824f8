"""The record: what was suggested and decided, by whom, when, with which versions, as events that are only ever added.

`events` has the record's words, `tables` its columns, `store` reads and writes them in SQLite or PostgreSQL, and
`migrations` makes the tables. No note text is in it.
"""
