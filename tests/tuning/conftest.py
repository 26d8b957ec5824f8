"""A small corpus to tune on."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    from concept_icd.corpora import save_corpus, synthetic_notes

    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    save_corpus(folder, synthetic_notes(notes=30, seed=0))
    return folder
