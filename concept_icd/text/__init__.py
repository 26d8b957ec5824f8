"""Text of notes: what its characters mean, before anything reads words in it."""
