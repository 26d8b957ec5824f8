"""Warm-up of a base model: a causal LM is taught to answer concept questions before it sees any coded note.

`stage` is the verb, `training` the loop; `questions` draws notes with labelled questions from `data` (open text, and
what the classification calls its codes) and `notes` (made-up notes).
"""
