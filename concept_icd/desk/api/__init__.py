"""The desk's answers to requests: codes, coding, notes, exports, CDS Hooks, FHIR."""
