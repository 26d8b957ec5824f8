"""Notes that are longer than anything reads of them: their beginning alone is looked at.

So a note of any length costs no more than one that is read to its end. What is cut here is said where it is said what
was not read. It knows characters, never a tokenizer.
"""

from __future__ import annotations

from dataclasses import replace

from concept_icd.records import Note

#: Characters in which words, terms and sections are looked for: about 30,000 words, a book of a note.
LONGEST = 200_000


def beginning(note: Note, most: int = LONGEST) -> Note:
    """The note as it is, or with its first `most` characters alone, up to white space where there is some.

    >>> beginning(Note("a", "  Cough and fever"), 8).text
    '  Cough'
    """
    text = note.text
    if len(text) <= most:
        return note
    most += len(text) - len(text.lstrip())  # blanks say nothing
    end = max(text.rfind(blank, most // 2, most + 1) for blank in " \n\t")
    return replace(note, text=text[: end if end > 0 else most])
