"""What a note's values may be, whoever gives them."""

import pytest

from concept_icd.errors import InputError
from concept_icd.records import Note, age_of, sex_of


@pytest.mark.parametrize(
    ("words", "sex"),
    [
        (("F", "f", "female", "Female", " FEMALE ", 8532, "8532"), "F"),
        (("M", "m", "male", "Male", 8507, "8507"), "M"),
        ((None, "", "other", "unknown", "U", 0, 8551, 8521), None),
    ],
)
def test_sex_in_the_words_of_fhir_mimic_and_omop(words, sex):
    for word in words:
        assert sex_of(word) == sex
        assert Note("a", "text", sex=word).sex == sex


@pytest.mark.parametrize("value", ["weiblich", "woman", "1", 1, 2, True, 8532.0, ["F"], "FM", float("nan")])
def test_any_other_sex_is_refused_and_not_quoted(value):
    for read in (sex_of, lambda value: Note("a", "text", sex=value)):
        with pytest.raises(InputError, match="'sex' must be") as error:
            read(value)
        assert str(value) not in str(error.value).replace("'sex'", "")


@pytest.mark.parametrize(
    ("value", "years"),
    [(0, 0.0), (0.0, 0.0), ("0", 0.0), (71, 71.0), ("71.5", 71.5), (95, 95.0), (None, None), (" ", None)]
    + [(value, 90.0) for value in (300, 304.9, 311, "300", "> 89", ">89", "90+", "89+", ">= 90")],
)
def test_ages(value, years):
    assert age_of(value) == years
    assert Note("a", "text", age=value).age == years


@pytest.mark.parametrize(
    "value", [-1, -0.5, 151, 299, 320, 1e9, 10**400, float("nan"), float("inf"), "-1", "nan", "1e2", "71y", True, [71]]
)
def test_what_is_no_age_is_refused(value):
    for read in (age_of, lambda value: Note("a", "text", age=value)):
        with pytest.raises(InputError, match="'age' must be a number of years"):
            read(value)
