"""MIMIC-III: its raw tables, the named benchmarks made from them, and invented tables of the same shape."""
