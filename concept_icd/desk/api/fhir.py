"""FHIR R4 resources, as plain dictionaries: suggestions as unconfirmed, submitted reviews as confirmed with a Claim.

ICD-9-CM's diagnoses and procedures share one system URI in FHIR, so each coding also says by its OID which of the two
it is: "38.93" is a procedure, never a diagnosis. The note's text is not in a bundle, its length and hash are. All
is a `collection`: nothing asks a server to store it.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Mapping, Sequence

from concept_icd.desk.documents import Document, Resource
from concept_icd.desk.record.events import now
from concept_icd.desk.review import Decided, Review
from concept_icd.records import CodingResult, Note, RankedCode

#: ICD-9-CM at HL7; the OIDs of its diagnoses and of its procedures.
SYSTEM = "http://hl7.org/fhir/sid/icd-9-cm"
OIDS = {"diagnosis": "urn:oid:2.16.840.1.113883.6.103", "procedure": "urn:oid:2.16.840.1.113883.6.104"}
CODES = "http://terminology.hl7.org/CodeSystem"
#: Extensions of ours, on suggestions.
RANK, PROBABILITY = "urn:concept-icd:rank", "urn:concept-icd:probability"
_NAMESPACE = uuid.UUID("0f3b8f0e-6f0d-5d0e-9a55-6b1f1d0f7c9d")


def suggested_bundle(document: Document, result: CodingResult) -> Resource:
    """What reached the threshold, in its order, unconfirmed; who decides is missing on purpose.

    A document that the client has under an id of its own is referred to by that, and is not in the bundle again.
    """
    own = [] if document.reference else [_document(document)]
    entries = [_suggested(document, code) for code in result.accepted]
    provenance = _provenance(entries, document, now(), result.versions, None)
    return bundle_of([*own, *entries, provenance])


def _suggested(document: Document, code: RankedCode) -> Resource:
    extension = [
        {"url": RANK, "valueInteger": code.rank},
        {"url": PROBABILITY, "valueDecimal": round(code.probability, 6)},
    ]
    places = [f"characters {start} to {end}" for start, end in code.evidence]
    coded = _coded(document, code.kind, code.code, code.title, confirmed=False, places=places)
    return {**coded, "extension": extension}


def review_entries(note: Note, review: Review, titles: Mapping[str, str]) -> list[Resource]:
    """The resources of one review: the document, each accepted code, the Claim if it is submitted, the Provenance."""
    document, submitted = Document(note), review.submitted
    confirmed = submitted is not None
    coded = [
        (decided, _coded(document, decided.kind, decided.code, titles[decided.code], confirmed=confirmed))
        for listed in review.accepted.values()
        for decided in listed
    ]
    resources = [resource for _, resource in coded]
    last = submitted or review.last
    if last is None:
        return [_document(document)]
    claim = [_claim(document, coded, submitted.at)] if submitted else []
    provenance = _provenance([*resources, *claim], document, last.at, review.versions, last.by)
    return [_document(document), *resources, *claim, provenance]


# Resources ----------------------------------------------------------------------------------------------------------


def _id(note: Note, *what: str) -> str:
    """The same for the same note and thing, whenever it is exported."""
    return str(uuid.uuid5(_NAMESPACE, "\0".join((note.note_id, hashlib.sha256(note.text.encode()).hexdigest(), *what))))


def _patient(document: Document) -> Resource:
    if document.subject:
        return document.subject
    if document.note.patient_id:
        return {"type": "Patient", "identifier": {"value": document.note.patient_id}}
    return {"type": "Patient", "display": "the patient of the note"}


def _reference(document: Document) -> Resource:
    """To the client's document, or to ours in the same bundle."""
    return {"reference": document.reference or f"urn:uuid:{_id(document.note, 'document')}"}


def _document(document: Document) -> Resource:
    note = document.note
    data = note.text.encode()
    attachment = {
        "contentType": "text/plain; charset=utf-8",
        "size": len(data),
        "hash": base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode(),  # as R4 asks
    }
    return {
        "resourceType": "DocumentReference",
        "id": _id(note, "document"),
        "identifier": [{"value": note.note_id}],
        "status": "current",
        "subject": _patient(document),
        **({"context": {"encounter": [document.encounter]}} if document.encounter else {}),
        "content": [{"attachment": attachment}],
    }


def _concept(kind: str, code: str, title: str) -> Resource:
    coding = [{"system": system, "code": code, "display": title} for system in (SYSTEM, OIDS[kind])]
    return {"coding": coding, "text": title}


def _coded(
    document: Document, kind: str, code: str, title: str, *, confirmed: bool, places: Sequence[str] = ()
) -> Resource:
    """A Condition or a Procedure."""
    source, encounter = _reference(document), {"encounter": document.encounter} if document.encounter else {}
    if kind == "procedure":
        return {
            "resourceType": "Procedure",
            "id": _id(document.note, kind, code),
            "status": "completed" if confirmed else "unknown",
            "code": _concept(kind, code, title),
            "subject": _patient(document),
            **encounter,
            "report": [{**source, **({"display": "; ".join(places)} if places else {})}],
        }
    status = "confirmed" if confirmed else "unconfirmed"
    evidence = [{**source, "display": place} for place in places] or [source]
    return {
        "resourceType": "Condition",
        "id": _id(document.note, kind, code),
        "verificationStatus": {"coding": [{"system": f"{CODES}/condition-ver-status", "code": status}]},
        "category": [{"coding": [{"system": f"{CODES}/condition-category", "code": "encounter-diagnosis"}]}],
        "code": _concept(kind, code, title),
        "subject": _patient(document),
        **encounter,
        "evidence": [{"detail": evidence}],
    }


def _claim(document: Document, coded: Sequence[tuple[Decided, Resource]], at: str) -> Resource:
    """A draft: what a bill needs beside its codes is not known here, and R4 asks for it, so it says so."""
    claim: Resource = {
        "resourceType": "Claim",
        "id": _id(document.note, "claim"),
        "status": "draft",
        "type": {"coding": [{"system": f"{CODES}/claim-type", "code": "institutional"}]},
        "use": "claim",
        "patient": _patient(document),
        "created": at,
        "provider": {"display": "not known to concept-icd"},
        "priority": {"coding": [{"system": f"{CODES}/processpriority", "code": "normal"}]},
        "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": "not known to concept-icd"}}],
    }
    for kind in ("diagnosis", "procedure"):
        listed = [resource for decided, resource in coded if decided.kind == kind]
        items = [
            {"sequence": number, f"{kind}Reference": {"reference": f"urn:uuid:{resource['id']}"}}
            for number, resource in enumerate(listed, 1)
        ]
        if items and kind == "diagnosis":
            items[0]["type"] = [{"coding": [{"system": f"{CODES}/ex-diagnosistype", "code": "principal"}]}]
        if items:
            claim[kind] = items
    return claim


def _provenance(
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
    about = [{"reference": f"urn:uuid:{resource['id']}"} for resource in targets] or [_reference(document)]
    named = "\0".join((_id(document.note, "document"), at))
    return {
        "resourceType": "Provenance",
        "id": str(uuid.uuid5(_NAMESPACE, named)),
        "target": about,
        "recorded": at,
        "agent": agents,
        "entity": [{"role": "source", "what": _reference(document)}],
    }


def bundle_of(resources: Sequence[Resource]) -> Resource:
    """A collection of the resources of any number of reviews."""
    entries = [{"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource} for resource in resources]
    # R4 does not allow an empty list.
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": now(),
        **({"entry": entries} if entries else {}),
    }
