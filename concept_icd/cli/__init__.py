"""The `concept-icd` command: `main` finds the verb, one module a verb."""
