"""Generated stays that several tests train on; nothing changes them."""

import pytest

from concept_icd.medications.synthetic import SyntheticStays, synthetic_stays


@pytest.fixture(scope="session")
def generated() -> SyntheticStays:
    return synthetic_stays(400, seed=3)
