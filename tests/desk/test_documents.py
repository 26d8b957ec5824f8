"""Documents of FHIR clients, in all the forms that they send: read, or said why not."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concept_icd.desk.documents import Unread, document_of, documents_of, reference_of
from concept_icd.errors import InputError

TEXT = "Fièvre et toux. Pneumonia of the right lower lobe – ½."


def document(data: bytes = b"Cough and fever.", kind: Any = "text/plain", **more: Any) -> dict[str, Any]:
    attachment = {"contentType": kind, "data": base64.b64encode(data).decode()}
    return {"resourceType": "DocumentReference", "content": [{"attachment": attachment}], **more}


def bundle(*resources: Any, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "entry": [{"resource": resource} for resource in resources], **more}


def text_of(resource: Any) -> str:
    return document_of(resource, "1").note.text


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        ("text/plain", "utf-8"),
        ("text/plain", "utf-8-sig"),
        ("Text/PLAIN ; Charset=UTF-8", "utf-8"),
        ('text/plain; format=flowed; charset="utf-8"', "utf-8-sig"),
        ("text/plain; charset=windows-1252", "cp1252"),
        ("text/plain;charset=utf-16", "utf-16"),
        ("text/plain; charset=utf-16", "utf-16-le"),
        ("text/plain; charset=utf-16", "utf-16-be"),
        ("text/plain; charset=utf-16be", "utf-16-be"),
    ],
)
def test_text_in_the_charset_that_it_names(kind: str, encoding: str) -> None:
    assert text_of(document(TEXT.encode(encoding), kind)) == TEXT


@pytest.mark.parametrize("name", ["iso-8859-1", "latin1", "ISO_8859-15", "windows-1250"])
def test_other_names_of_charsets(name: str) -> None:
    assert text_of(document("Grüße".encode(name), f"text/plain; charset={name}")) == "Grüße"


@pytest.mark.parametrize("space", ["\n", "\r\n", " ", "\t"])
def test_base64_with_white_space(space: str) -> None:
    sent = document(TEXT.encode() * 9)
    attachment = sent["content"][0]["attachment"]
    data = attachment["data"]
    attachment["data"] = space.join(data[i : i + 76] for i in range(0, len(data), 76)) + space
    assert text_of(sent) == TEXT * 9


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (document(kind="text/html"), "it is text/html, not text/plain"),
        (document(kind="application/xhtml+xml; charset=utf-8"), "application/xhtml"),
        (document(kind="<b>text</b>"), "of an unknown type"),
        (document(kind=None), "of an unknown type"),
        (document(kind=["text/plain"]), "of an unknown type"),
        (document(b" \n"), "the note is empty"),
        (document(b"a\0b"), "NUL"),
        (document(b"\xe9"), "not UTF-8 at byte 0"),
        (document(b"\x81", "text/plain; charset=windows-1252"), "not in its charset at byte 0"),
        (document(kind="text/plain; charset=utf-7"), "charset utf-7 cannot be read"),
        (document(kind="text/plain; charset=rot13"), "cannot be read"),
        (document(kind="text/plain; charset=zlib_codec"), "cannot be read"),
        (document(status="superseded"), "its status is superseded, not current"),
        (document(status="entered-in-error"), "entered-in-error"),
        (document(status=["current"]), "its status is unknown"),
        (document(docStatus="entered-in-error"), "docStatus"),
        (document(content=5), "unknown type"),
        (document(content=[]), "no content"),
        (document(content=None), "no content"),
        (
            document(content=[{"attachment": {"contentType": "text/plain", "url": "Binary/17"}}]),
            "not part of the request",
        ),
        (document(content=[{"attachment": {"contentType": "text/plain", "data": "a"}}]), "no base64"),
        (document(content=[{"attachment": {"contentType": "text/plain", "data": {"a": 1}}}]), "no base64"),
        ({"resourceType": "Patient"}, "no DocumentReference"),
        (5, "no DocumentReference"),
    ],
)
def test_what_cannot_be_read_says_why(sent: Any, said: str) -> None:
    with pytest.raises(Unread, match=said) as raised:
        document_of(sent, "1")
    assert "Cough" not in str(raised.value)


def test_of_several_forms_the_one_that_can_be_read() -> None:
    sent = document(b"<p>Cough</p>", "text/html")
    sent["content"] += document(b"Cough.")["content"]
    assert text_of(sent) == "Cough."


def test_what_it_is_about_is_kept() -> None:
    context = {"encounter": [{"display": "a visit"}, {"reference": "Encounter/3"}]}
    found = document_of(document(id="d-1", subject={"reference": "Patient/2", "x": "y"}, context=context), "1")
    assert (found.reference, found.note.note_id) == ("DocumentReference/d-1", "d-1")
    assert (found.subject, found.encounter) == ({"reference": "Patient/2"}, {"reference": "Encounter/3"})
    assert document_of(document(context=[{"reference": "Encounter/4"}]), "1").encounter == {"reference": "Encounter/4"}
    logical = {"identifier": {"system": "urn:x", "value": "7", "use": "old"}}
    assert reference_of(logical) == {"identifier": {"system": "urn:x", "value": "7"}}


@pytest.mark.parametrize("given", ["A" * 65, "a b", "", "a\0", "\ud800", 5, None, ["a"]])
def test_an_id_that_is_none_is_replaced_by_its_place(given: Any) -> None:
    found = document_of(document(id=given), "3")
    assert (found.note.note_id, found.reference) == ("3", None)


def test_one_that_cannot_be_read_does_not_stop_the_others() -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": []}
    sent = bundle(document(b""), document(id="good"), 5, outcome, {"resourceType": "Patient"}, document(status="old"))
    sent["link"] = [{"relation": "next", "url": "https://ehr/next"}]
    read, unread = documents_of(sent)
    assert [one.note.note_id for one in read] == ["good"]
    assert [failure.name for failure in unread] == ["1", "3", "4", "6", "7 and any after it"]


def test_nothing_is_no_fault() -> None:
    for sent in (None, bundle(), {"resourceType": "Bundle"}, {"resourceType": "Bundle", "entry": None}):
        assert documents_of(sent) == ([], [])


@pytest.mark.parametrize("sent", [5, "Bundle", [], True, {}, {"resourceType": "Patient"}, bundle() | {"entry": 5}])
def test_what_is_no_answer_of_a_search(sent: Any) -> None:
    with pytest.raises(InputError):
        documents_of(sent)


#: Any JSON, strings with half pairs and NULs included, and the words of FHIR at any place.
WORDS = st.sampled_from(
    [
        "DocumentReference",
        "Bundle",
        "OperationOutcome",
        "current",
        "text/plain",
        "text/plain; charset=utf-16",
        "IAo=",
        "next",
    ]
)
NAMES = st.sampled_from(
    [
        *("resourceType", "entry", "resource", "content", "attachment", "contentType", "data", "status", "docStatus"),
        *("context", "encounter", "subject", "reference", "identifier", "system", "value", "id", "link", "relation"),
    ]
)
STRINGS = st.one_of(WORDS, st.text(st.characters(), max_size=8), st.just("\ud800"))
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), STRINGS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(NAMES, STRINGS), inner, max_size=4)),
    max_leaves=12,
)


@given(ANY_JSON, st.dictionaries(NAMES, ANY_JSON, max_size=4), st.dictionaries(NAMES, ANY_JSON, max_size=3))
def test_any_json_is_read_or_refused(anything: Any, fields: dict[str, Any], attachment: dict[str, Any]) -> None:
    damaged = document()
    damaged["content"][0]["attachment"] |= attachment
    for sent in (anything, bundle(anything), bundle(document() | fields), bundle(damaged), bundle() | fields):
        try:
            read, _ = documents_of(sent)
        except InputError:
            continue
        for found in read:
            assert len(found.note.note_id) <= 64
            assert found.note.text.strip()
