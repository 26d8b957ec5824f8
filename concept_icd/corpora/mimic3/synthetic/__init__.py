"""Invented tables and notes in the shape of MIMIC-III v1.4."""
