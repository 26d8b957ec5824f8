"""Concept scores of notes: packing, the packed scorer, the resumable store. Nothing here sees gold codes."""
