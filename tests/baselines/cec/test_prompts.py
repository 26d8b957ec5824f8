"""Parent and leaf phrases are told apart, by the file's keys or by the tree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from concept_icd.baselines.cec.prompts import all_phrases, read_phrases
from concept_icd.errors import InputError
from concept_icd.ontology.tree import load_ontology

MOST = {"parent": 5, "leaf": 2}


def read(tmp_path: Path, content: object, labels: tuple[str, ...], aliases: dict[str, str] | None = None):  # type: ignore[no-untyped-def]
    (tmp_path / "p.json").write_text(json.dumps(content))
    return read_phrases(tmp_path / "p.json", labels, load_ontology("icd9cm"), aliases or {}, MOST)


def test_five_parent_and_two_leaf_phrases_are_kept_as_the_file_names_them(tmp_path: Path) -> None:
    content = {"428.0": {"parent": ["a", "b", "c", "d", "e", "f"], "leaf": ["x", "X", "y", "z"]}}
    found = read(tmp_path, content, ("428.0",))
    assert found == {"parent": {"428.0": ("a", "b", "c", "d", "e")}, "leaf": {"428.0": ("x", "y")}}


def test_plain_lists_are_leaf_phrases_of_a_code_and_parent_phrases_of_what_lies_below(tmp_path: Path) -> None:
    content = {
        "428": ["heart failure", "oedema"],
        "428.0": ["CHF"],
        "390-459": ["circulation"],
        "486": {"parent": ["cough"]},
    }
    found = read(tmp_path, content, ("428.0", "486", "401.9"))
    assert found["parent"] == {"428.0": ("heart failure", "oedema"), "486": ("cough",), "401.9": ()}
    assert found["leaf"] == {"428.0": ("CHF",), "486": (), "401.9": ()}
    assert all_phrases(found["parent"]) == ("heart failure", "oedema", "cough")
    assert all_phrases(found["parent"], ["486"]) == ("cough",)


def test_a_spoilt_label_has_the_phrases_of_the_code_that_it_means(tmp_path: Path) -> None:
    content = {"04.07": {"parent": ["nerve"], "leaf": ["excision"]}}
    assert read(tmp_path, content, ("40.7",), {"40.7": "04.07"})["leaf"] == {"40.7": ("excision",)}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"486": ["cough"]}, "no parent phrase of any label"),
        ({"486": {"parent": ["cough"]}}, "no leaf phrase of any label"),
        ({"486": {"parents": ["cough"]}}, "has the key 'parents'; known are parent and leaf"),
        ({"486": {"leaf": "cough"}}, "must be a list of strings"),
    ],
)
def test_what_cannot_be_asked_is_refused(content: object, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, content, ("486",))
