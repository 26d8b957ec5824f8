"""Clinical documents as a FHIR client sends them: which can be read, and of the others why not.

One that cannot be read does not stop the others, and never looks like one without codes: `Unread` says which it was and
why, in words without any of its text. What comes may be any JSON, so nothing of its form is taken for granted.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from typing import Any

from concept_icd.corpora.reading import decode, flaw
from concept_icd.errors import InputError
from concept_icd.records import Note
from concept_icd.records.fhir import Document, Resource

#: As FHIR R4 has ids: https://hl7.org/fhir/R4/datatypes.html#id
FHIR_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_REFERENCE = re.compile(r"[\x21-\x7e]{1,1000}")
_TYPE = re.compile(r"\s*([\w.+-]{1,60}/[\w.+-]{1,60})\s*(;.*)?", re.ASCII | re.DOTALL)
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]{1,40})", re.ASCII | re.IGNORECASE)
#: What text is written in; other codecs of Python's are no alphabets, or are programs of their own.
CHARSETS = frozenset(
    codecs.lookup(name).name
    for name in (
        *("utf-8", "us-ascii", "utf-16", "utf-16-le", "utf-16-be"),
        *(f"iso8859-{number}" for number in (*range(1, 12), *range(13, 17))),
        *(f"cp{number}" for number in range(1250, 1259)),
    )
)


class Unread(Exception):
    """A document that was not read.

    Attributes:
        name: its id, or its place among those sent. reason: goes on after "was not read: ".
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"Document {name} was not read: {reason}.")
        self.name, self.reason = name, reason


def documents_of(sent: Any) -> tuple[list[Document], list[Unread]]:
    """The documents of a searched Bundle, or the one DocumentReference, or nothing (null).

    Raises:
        InputError: it is none of these.
    """
    if sent is None:
        return [], []
    if not isinstance(sent, dict) or sent.get("resourceType") not in ("Bundle", "DocumentReference"):
        raise InputError("the documents must be a Bundle of DocumentReferences, one DocumentReference, or null")
    if sent["resourceType"] == "DocumentReference":
        resources: list[Any] = [sent]
    else:
        entries = [] if sent.get("entry") is None else sent["entry"]
        if not isinstance(entries, list):
            raise InputError("the Bundle's entry must be a list")
        resources = [entry.get("resource") if isinstance(entry, dict) else None for entry in entries]
    read: list[Document] = []
    unread: list[Unread] = []
    for number, resource in enumerate(resources, 1):
        kind = resource.get("resourceType") if isinstance(resource, dict) else None
        if kind == "OperationOutcome":
            unread.append(Unread(str(number), "the search for documents met a problem"))
        elif kind == "DocumentReference" or not isinstance(kind, str):
            try:
                read.append(document_of(resource, str(number)))
            except Unread as failure:
                unread.append(failure)
    if any(isinstance(link, dict) and link.get("relation") == "next" for link in _list(sent.get("link"))):
        unread.append(Unread(f"{len(resources) + 1} and any after it", "the Bundle is one page of several"))
    return read, unread


def document_of(resource: Any, name: str) -> Document:
    """One DocumentReference.

    Args:
        name: what to call it, where it has no id.

    Raises:
        Unread: see there.
    """
    if not isinstance(resource, dict) or resource.get("resourceType") != "DocumentReference":
        raise Unread(name, "it is no DocumentReference")
    given = resource.get("id")
    own = given if isinstance(given, str) and FHIR_ID.fullmatch(given) else None
    name = own or name
    if resource.get("status", "current") != "current":
        raise Unread(name, f"its status is {_word(resource['status'])}, not current")
    if resource.get("docStatus") == "entered-in-error":
        raise Unread(name, "its docStatus is entered-in-error")
    context = resource.get("context")
    encounters = _list(context.get("encounter") if isinstance(context, dict) else context)
    return Document(
        Note(name, _text(resource.get("content"), name)),
        f"DocumentReference/{own}" if own else None,
        reference_of(resource.get("subject")),
        next((found for one in encounters if (found := reference_of(one))), None),
    )


def reference_of(value: Any) -> Resource | None:
    """What a Reference leads to, a URL or a system's identifier, without what else it holds; None: it leads nowhere."""
    if not isinstance(value, dict):
        return None
    if isinstance(reference := value.get("reference"), str) and _REFERENCE.fullmatch(reference):
        return {"reference": reference}
    identifier = value.get("identifier")
    if isinstance(identifier, dict):
        kept = {part: identifier.get(part) for part in ("system", "value")}
        if all(isinstance(one, str) and _REFERENCE.fullmatch(one) for one in kept.values()):
            return {"identifier": kept}
    return None


def _text(content: Any, name: str) -> str:
    """The text of a document; of several contents, which are its forms, the first that can be read."""
    reason = "it has no content"
    for part in _list(content):
        attachment = part.get("attachment") if isinstance(part, dict) else None
        try:
            return _attached(attachment if isinstance(attachment, dict) else {})
        except InputError as error:
            reason = str(error) if reason == "it has no content" else f"{reason}; {error}"
    raise Unread(name, reason[:300])


def _attached(attachment: Resource) -> str:
    """The text of an attachment.

    Raises:
        InputError: there is none here, or it cannot be read.
    """
    kind, data = attachment.get("contentType"), attachment.get("data")
    found = _TYPE.fullmatch(kind) if isinstance(kind, str) else None
    if found is None or found[1].lower() != "text/plain":
        raise InputError(f"it is {found[1] if found else 'of an unknown type'}, not text/plain")
    if data is None:
        raise InputError("its text is not part of the request")
    if not isinstance(data, str):
        raise InputError("its data is no base64")
    try:
        # R4 allows white space within base64, and MIME wraps it.
        decoded = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("its data is no base64") from error
    charset = _CHARSET.search(found[2] or "")
    text = _decoded(decoded, charset[1] if charset else None)
    if reason := flaw(text):
        raise InputError(reason)
    return text


def _decoded(data: bytes, charset: str | None) -> str:
    if charset is None:
        return decode(data)
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        name = ""
    if name not in CHARSETS:
        raise InputError(f"its charset {charset} cannot be read")
    if name == "utf-8":
        return decode(data)
    if name == "utf-16" and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # The zeros of Latin letters stand first in the one order and second in the other.
        name = "utf-16-be" if data[0::2].count(0) > data[1::2].count(0) else "utf-16-le"
    try:
        return data.decode(name).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(f"it is not in its charset at byte {error.start}") from error


def _list(value: Any) -> list[Any]:
    """A list as it is, one thing as a list of it (R4's context is one, R5's are several), nothing as none."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _word(value: Any) -> str:
    """A code of FHIR's as it may be shown."""
    return value if isinstance(value, str) and re.fullmatch(r"[a-z-]{1,40}", value) else "unknown"
