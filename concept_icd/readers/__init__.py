"""Predictions, gold codes and label sets from a user's files."""
