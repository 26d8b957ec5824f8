"""The text of notes, before anything looks for codes in it.

In the order in which a note goes through them:

- `normalization`: characters that a reader cannot tell apart are written in one way, with a map back to the note.
- `sections`: where a note is cut at its headings, and which sections of a discharge summary these are.
- `sentences`: where it is cut into sentences, clauses and parts.
- `assertion`: the cues by which a clause denies or doubts what it says.
- `words`: words as they are compared (lower case, no accents, no plural endings), without stop words where asked.
- `clause_words`: the words of many notes, clause by clause, as numbers in arrays.

Nothing here knows codes.
"""
