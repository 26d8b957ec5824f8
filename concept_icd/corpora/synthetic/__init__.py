"""Invented patients: discharge summaries with codes in billing order, and what they are written from."""
