"""What every test may use. Tests that read the public corpora skip, with the reason, where those are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public corpora (see CONTRIBUTING.md): $CONCEPT_ICD_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("CONCEPT_ICD_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the public corpora are not at {folder}; set CONCEPT_ICD_DATA to their folder")
    return folder
