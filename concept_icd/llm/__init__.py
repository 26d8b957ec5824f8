"""The language model: how a packed pass goes through it, and whether it can."""
