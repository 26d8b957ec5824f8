"""Characters that a reader cannot see or tell apart are written in one way, and every span leads back to the note."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from concept_icd.text.normalization import normalize
from concept_icd.text.words import fold

NOTE = "HISTORY: Fever, cough.\nIMPRESSION: Left lower lobe pneumonia; no effusion."
SPACES = "\t\u00a0\u1680\u2000\u2003\u2007\u2009\u200a\u202f\u205f\u2800\u3000\u3164"
LINE_ENDS = ("\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
INVISIBLE = (
    "\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2066\u2069"
    "\ufe00\ufe0e\ufe0f\ufeff\ufff9\ufffb\U000e0020\U000e0100\x00\x01\x08\x1b\x7f\x81"
)


@pytest.mark.parametrize("space", SPACES)
def test_every_space_is_a_space(space: str) -> None:
    assert normalize(NOTE.replace(" ", space)).text == NOTE
    assert normalize(NOTE.replace(" ", f" {space}")).text == NOTE


@pytest.mark.parametrize("end", LINE_ENDS)
def test_every_line_end_is_a_line_feed(end: str) -> None:
    assert normalize(NOTE.replace("\n", end)).text == NOTE
    assert normalize(NOTE.replace("\n", f" \t{end} ")).text == NOTE
    assert normalize(f"a.{end}{end}{end}{end}b").text == "a.\n\nb"


@pytest.mark.parametrize("mark", INVISIBLE)
@pytest.mark.parametrize("place", [0, 5, 12, 23, len(NOTE)])
def test_what_is_not_seen_goes(mark: str, place: int) -> None:
    assert normalize(NOTE[:place] + mark + NOTE[place:]).text == NOTE


@pytest.mark.parametrize(
    ("given_text", "read"),
    [
        ("a\u2010b \u2011 \u2012 \u2013 \u2014 \u2015 \u2212", "a-b - - - - - -"),
        (
            "\u2018a\u2019 Crohn\u2019s Crohn\u02bcs Crohn\u2032s Crohn\u00b4s Crohn\u0092s",
            "'a' " + "Crohn's " * 4 + "Crohn's",
        ),
        ("\u201ca\u201d \u201eb\u201f 5\u2033 \u00abc\u00bb", '"a" "b" 5" "c"'),
        ("wait\u2026 \u0093so\u0094 \u0096 \u0097", 'wait... "so" - -'),
        ("\ufb01brosis \ufb02u e\ufb00usion o\ufb03ce", "fibrosis flu effusion office"),
        ("\uff30\uff4e\uff45\uff55\uff4d\uff4f\uff4e\uff49\uff41\uff1a \uff14\uff18\uff16", "Pneumonia: 486"),
        ("type \u2161, \U0001d429\U0001d427\U0001d41e\U0001d42e", "type II, pneu"),
        (
            "5 \u00b5g, 5 \u03bcg, 3 \u338e, 37 \u2103, 37\u00baC, 1\u20442",
            "5 \u03bcg, 5 \u03bcg, 3 mg, 37 \u00b0C, 37\u00b0C, 1/2",
        ),
        ("Sjo\u0308gren, Me\u0301nie\u0300re", "Sj\u00f6gren, M\u00e9ni\u00e8re"),
        ("IMPRESSION\ufe55 \u2488 cough\ufe50 fever\ufe52 7\u058ayear \u2e3a", "IMPRESSION: 1. cough, fever. 7-year -"),
        ("e\u200d\u0301\ufe0f", "\u00e9"),
        ("\u1112\u1161\u11ab", "\ud55c"),
    ],
)
def test_one_way_to_write_it(given_text: str, read: str) -> None:
    assert normalize(given_text).text == read


@pytest.mark.parametrize(
    "text",
    [
        "10\u2079/L",
        "m\u00b2",
        "1\u00bd",
        "\u21163",
        "\u2265 5 \u00d7 3",
        "\u2022 fever",
        "\u00e6 \u00df \u00f8",
        "\u00b0C",
    ],
)
def test_what_means_something_stays(text: str) -> None:
    assert normalize(text).text == text


PLAIN = st.from_regex(r"\A(?:[A-Za-z0-9.,;:()/%+'\"`~*#]+[ \n])*[A-Za-z0-9.,;:()/%+'\"`~*#]+\Z")


@given(PLAIN)
def test_plain_text_stays_as_it_is(text: str) -> None:
    text = re.sub(r"\n(?=[a-z])", " ", text)  # a line that goes on in lower case may be read on
    found = normalize(text)
    assert found.text is text
    assert found.given(0, len(text)) == (0, len(text))


#: Texts in which the characters in question are frequent.
ODD = st.lists(
    st.sampled_from(
        ["pneu", "monia", "follow", "up", "A", "-", ".", "\u0301", "\u0308", "o", "\u1161", "\uff9e", "\uff76"]
    )
    | st.sampled_from(["\n", " ", "\u2013", "\ufb01", "\u2026", "\u338e", "\u2019", *SPACES, *LINE_ENDS, *INVISIBLE])
    | st.characters(exclude_categories=("Cs",)),
    max_size=30,
).map("".join)


@given(ODD)
@example("\u00e9\u2013\u0301")
@example("ab-\ncd-\nEF")
@example("pneu\x00\x1b\u0301")
@example("pneu\x81\u200d\u0301")
def test_normalised_text_is_a_fixed_point(text: str) -> None:
    read = normalize(text).text
    assert normalize(read).text == read
    assert unicodedata.is_normalized("NFC", read)
    assert read == read.strip(" \n")
    assert not set(read) & {*SPACES, *INVISIBLE, "\r", "\u2028"}
    assert not any(untidy in read for untidy in ("  ", " \n", "\n ", "\n\n\n"))


@given(ODD, st.data())
def test_every_span_leads_back(text: str, data: st.DataObject) -> None:
    """Spans keep their order, and what they lead to reads as what they hold."""
    found = normalize(text)
    start = data.draw(st.integers(0, len(found.text)))
    end = data.draw(st.integers(start, len(found.text)))
    first, after = found.given(start, end)
    assert 0 <= first <= after <= len(text)
    if start == end:
        assert first == after
        return
    assert first < after
    middle = data.draw(st.integers(start, end))
    assert found.given(start, middle)[0] == first
    assert middle == start or found.given(start, middle)[1] <= after
    characters = [found.given(place, place + 1) for place in range(start, end)]
    assert (characters[0][0], characters[-1][1]) == (first, after)
    assert characters == sorted(characters)


@given(
    st.sampled_from(["pneumonia", "Fever", "effusion", "lobe"]),
    st.sampled_from(SPACES),
    st.lists(st.tuples(st.integers(0, len(NOTE)), st.sampled_from(INVISIBLE)), max_size=20),
)
@example("pneumonia", " ", [(22, "\u00ad")])
def test_a_word_is_found_in_the_note_as_it_was_given(word: str, space: str, marks: list[tuple[int, str]]) -> None:
    """Marks anywhere: the span of the word, without its marks, is the word."""
    text = NOTE.replace(" ", space)
    for place, mark in sorted(marks, reverse=True):
        text = text[:place] + mark + text[place:]
    found = normalize(text)
    assert found.text == NOTE
    at = found.text.index(word)
    start, end = found.given(at, at + len(word))
    assert "".join(character for character in text[start:end] if character not in INVISIBLE) == word


def test_a_span_of_what_became_longer_is_the_character() -> None:
    text = "a \ufb01brosis\u2026 end"
    found = normalize(text)
    assert found.text == "a fibrosis... end"
    assert [text[slice(*found.given(*span))] for span in [(2, 10), (2, 3), (10, 13), (11, 12), (14, 17)]] == [
        "\ufb01brosis",
        "\ufb01",
        "\u2026",
        "\u2026",
        "end",
    ]


def test_no_text_stands_in_its_repr() -> None:
    assert "secret" not in repr(normalize("secret\u00a0illness"))


@pytest.mark.parametrize(
    ("divided", "read"),
    [
        ("lobe pneu-\nmonia.", "lobe pneumonia."),
        ("lobe pneu- \r\n   monia.", "lobe pneumonia."),
        ("lobe pneu\u2010\u2028monia.", "lobe pneumonia."),
        ("PNEU-\nMONIA", "PNEUMONIA"),
        ("hydro-\nnephrosis, gall-\nbladder, pre-\nmature", "hydronephrosis, gallbladder, premature"),
        ("infil-\ntrate", "infiltrate"),  # no word of the titles
        ("metro-\nnidazole", "metronidazole"),  # nobody knows either part
        ("Blebitis here. A bleb-\nitis there.", "Blebitis here. A blebitis there."),  # the note knows it
        ("follow-\nup of", "follow-up of"),
        ("Follow-\r\nup of", "Follow-up of"),
        ("FOLLOW-\nUP", "FOLLOW-UP"),
        ("non-\nspecific, non-\ntender", "non-specific, non-tender"),
        ("X-\nray, x-\nray, T-\ncell", "X-ray, x-ray, T-cell"),
        ("right-\nsided, post-\nop, long-\nterm", "right-sided, post-op, long-term"),
        ("Impression-\nPneumonia", "Impression-\nPneumonia"),
        ("Guillain-\nBarre", "Guillain-\nBarre"),
        ("Medications-\naspirin", "Medications-\naspirin"),
        ("- fever -\ncough", "- fever -\ncough"),
        ("pneu\u00ad\nmonia, zzq\u00ad \r\n wxy, Guillain\u00ad\nBarre", "pneumonia, zzqwxy, GuillainBarre"),
    ],
)
def test_words_divided_at_a_lines_end(divided: str, read: str) -> None:
    found = normalize(divided)
    assert found.text == read
    assert found.given(0, len(read)) == (0, len(divided))
    assert normalize(found.text).text == found.text


FULL = "The patient was seen because of a cough that did"


@pytest.mark.parametrize(
    ("given_text", "read"),
    [
        (f"{FULL}\nnot go away.", f"{FULL} not go away."),
        (f"{FULL},\r\n   as it had before,\nnot go away.", f"{FULL}, as it had before, not go away."),
        (f"{FULL}\nNot seen again.", f"{FULL}\nNot seen again."),  # another sentence, or an item
        (f"{FULL}.\nas before", f"{FULL}.\nas before"),
        (f"{FULL}\n\nnot go away", f"{FULL}\n\nnot go away"),  # a paragraph
        (f"{FULL}\npast history: asthma", f"{FULL}\npast history: asthma"),  # a heading
        ("no fever\ncough\nwheezing", "no fever\ncough\nwheezing"),  # items: the denial ends with its line
        (f"{FULL}\n- not go away", f"{FULL}\n- not go away"),
    ],
)
def test_a_line_that_was_only_full_goes_on(given_text: str, read: str) -> None:
    found = normalize(given_text)
    assert found.text == read
    assert normalize(read).text == read
    start, end = found.given(read.index("not") if "not" in read else 0, len(read))
    assert given_text[start:end].endswith(read[-4:])


def test_folded_words() -> None:
    assert fold(
        "Sj\u00f6gren M\u00e9ni\u00e8re L\u00f6ffler Stra\u00dfe \u00d8rsted \u00c6gir \u0110a \u0141\u00f3d\u017a"
    ) == ("sjogren meniere loffler strasse orsted aegir da lodz")
    assert fold("10\u2079 \u00bd") == "10\u2079 \u00bd"
