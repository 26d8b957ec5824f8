"""FHIR R4 resources, as plain dictionaries: a document, its codes, and what made them.

ICD-9-CM's diagnoses and procedures share one system URI in FHIR, so each coding of them also says by its OID which of
the two it is: "38.93" is a procedure, never a diagnosis. The note's text is not in a bundle, its length and hash are.
All is a `collection`: nothing asks a server to store it.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from concept_icd.errors import OneLine
from concept_icd.records.notes import Note

if TYPE_CHECKING:
    from concept_icd.records import CodingResult, RankedCode

Resource = dict[str, Any]
#: ICD-9-CM at HL7, for both kinds of codes; the OIDs of its diagnoses and of its procedures.
ICD9CM = "http://hl7.org/fhir/sid/icd-9-cm"
OIDS = {"diagnosis": "urn:oid:2.16.840.1.113883.6.103", "procedure": "urn:oid:2.16.840.1.113883.6.104"}
CODES = "http://terminology.hl7.org/CodeSystem"
#: Extensions of ours, on suggestions.
RANK, PROBABILITY = "urn:concept-icd:rank", "urn:concept-icd:probability"
_NAMESPACE = uuid.UUID("0f3b8f0e-6f0d-5d0e-9a55-6b1f1d0f7c9d")


@dataclass(frozen=True, repr=False)
class Document(OneLine):
    """A document that can be coded.

    Attributes:
        note: its text, under its id. reference: to the document, e.g. "DocumentReference/7"; None: it has no id.
        subject, encounter: references as FHIR has them, e.g. {"reference": "Patient/2"}; None: it names none.
    """

    note: Note = field(repr=False)
    reference: str | None = None
    subject: Resource | None = None
    encounter: Resource | None = None


def suggested_bundle(document: Document, result: CodingResult) -> Resource:
    """What reached the threshold, in its order, unconfirmed; who decides is missing on purpose.

    A document that the client has under an id of its own is referred to by that, and is not in the bundle again.
    """
    own = [] if document.reference else [document_resource(document)]
    entries = [_suggested(document, code) for code in result.accepted]
    provenance = provenance_resource(entries, document, _now(), result.versions, None)
    return bundle_of([*own, *entries, provenance])


def _suggested(document: Document, code: RankedCode) -> Resource:
    extension = [
        {"url": RANK, "valueInteger": code.rank},
        {"url": PROBABILITY, "valueDecimal": round(code.probability, 6)},
    ]
    places = [f"characters {start} to {end}" for start, end in code.evidence]
    coded = coded_resource(
        document, code.kind, code.code, code.title, confirmed=False, places=places, system=code.system
    )
    return {**coded, "extension": extension}


def _now() -> str:
    """An instant of FHIR: UTC to the millisecond."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def id_of(note: Note, *what: str) -> str:
    """The same for the same note and thing, whenever it is exported."""
    return str(uuid.uuid5(_NAMESPACE, "\0".join((note.note_id, hashlib.sha256(note.text.encode()).hexdigest(), *what))))


def patient_of(document: Document) -> Resource:
    """A reference to the patient, by what the document says of them."""
    if document.subject:
        return document.subject
    if document.note.patient_id:
        return {"type": "Patient", "identifier": {"value": document.note.patient_id}}
    return {"type": "Patient", "display": "the patient of the note"}


def reference_of(document: Document) -> Resource:
    """To the client's document, or to ours in the same bundle."""
    return {"reference": document.reference or f"urn:uuid:{id_of(document.note, 'document')}"}


def document_resource(document: Document) -> Resource:
    """A DocumentReference without the text."""
    note = document.note
    data = note.text.encode()
    attachment = {
        "contentType": "text/plain; charset=utf-8",
        "size": len(data),
        "hash": base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode(),  # as R4 asks
    }
    return {
        "resourceType": "DocumentReference",
        "id": id_of(note, "document"),
        "identifier": [{"value": note.note_id}],
        "status": "current",
        "subject": patient_of(document),
        **({"context": {"encounter": [document.encounter]}} if document.encounter else {}),
        "content": [{"attachment": attachment}],
    }


def _concept(kind: str, code: str, title: str, system: str) -> Resource:
    systems = (system, OIDS[kind]) if system == ICD9CM else (system,)
    coding = [{"system": system, "code": code, "display": title} for system in systems]
    return {"coding": coding, "text": title}


def coded_resource(
    document: Document,
    kind: str,
    code: str,
    title: str,
    *,
    confirmed: bool,
    places: Sequence[str] = (),
    system: str = ICD9CM,
) -> Resource:
    """A Condition or a Procedure.

    Args:
        places: of the passages that carry it, in words. system: URI of the code system.
    """
    source, encounter = reference_of(document), {"encounter": document.encounter} if document.encounter else {}
    if kind == "procedure":
        return {
            "resourceType": "Procedure",
            "id": id_of(document.note, kind, code),
            "status": "completed" if confirmed else "unknown",
            "code": _concept(kind, code, title, system),
            "subject": patient_of(document),
            **encounter,
            "report": [{**source, **({"display": "; ".join(places)} if places else {})}],
        }
    status = "confirmed" if confirmed else "unconfirmed"
    evidence = [{**source, "display": place} for place in places] or [source]
    return {
        "resourceType": "Condition",
        "id": id_of(document.note, kind, code),
        "verificationStatus": {"coding": [{"system": f"{CODES}/condition-ver-status", "code": status}]},
        "category": [{"coding": [{"system": f"{CODES}/condition-category", "code": "encounter-diagnosis"}]}],
        "code": _concept(kind, code, title, system),
        "subject": patient_of(document),
        **encounter,
        "evidence": [{"detail": evidence}],
    }


def provenance_resource(
    targets: Sequence[Resource], document: Document, at: str, versions: Mapping[str, str], person: str | None
) -> Resource:
    """Who and what: the versions that suggested, and the person who decided."""
    suggested_by = ", ".join(f"{name} {value}" for name, value in versions.items()) or "concept-icd"
    kind = f"{CODES}/provenance-participant-type"
    agents: list[Resource] = [
        {
            "type": {"coding": [{"system": kind, "code": "assembler"}]},
            "who": {"type": "Device", "display": suggested_by},
        }
    ]
    if person is not None:
        agents.append({"type": {"coding": [{"system": kind, "code": "verifier"}]}, "who": {"display": person}})
    # A Provenance is about something: of a note without codes, about its document.
    about = [{"reference": f"urn:uuid:{resource['id']}"} for resource in targets] or [reference_of(document)]
    named = "\0".join((id_of(document.note, "document"), at))
    return {
        "resourceType": "Provenance",
        "id": str(uuid.uuid5(_NAMESPACE, named)),
        "target": about,
        "recorded": at,
        "agent": agents,
        "entity": [{"role": "source", "what": reference_of(document)}],
    }


def bundle_of(resources: Sequence[Resource]) -> Resource:
    """A collection of the resources of any number of reviews."""
    entries = [{"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource} for resource in resources]
    # R4 does not allow an empty list.
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": _now(),
        **({"entry": entries} if entries else {}),
    }
