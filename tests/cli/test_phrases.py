"""Phrases are collected from the real NCHS files, checked against real reports, and used as concepts."""

import json

from concept_icd.cli.main import main
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.phrases import read_phrase_file
from concept_icd.ontology.tree import load_ontology


def test_phrases_of_the_nchs_files(shared_data, tmp_path, capsys):
    codes, out = tmp_path / "codes.txt", tmp_path / "phrases.json"
    codes.write_text("486\n599.0\n786.2\n")
    nchs = shared_data / "icd9cm" / "nchs_2011"
    command = ["phrases", "--codes", codes, "--tabular", nchs / "Dtab12.zip", "--index", nchs / "Dindex12.zip"]
    assert main([*map(str, command), "--most", "5", "--out", str(out)]) == 0
    phrases = read_phrase_file(out)
    assert "urinary infection" in phrases["599.0"]
    assert all(len(found) <= 5 for found in phrases.values())
    concepts = ConceptSet.expand(("486", "599.0"), load_ontology("icd9cm"), phrases=phrases)
    assert {concept.level for concept in concepts.concepts} >= {"phrase", "code"}

    everything = len(json.loads(out.read_text()))
    command += ["--corpus", shared_data / "cmc2007" / "train.xml", "--out", out]
    assert main([*map(str, command)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*map(str, command), "--overwrite"]) == 0
    assert "are said in some of 978 notes" in capsys.readouterr().out
    assert 0 < len(json.loads(out.read_text())) <= everything


def test_a_local_model_is_asked(llama, tmp_path):
    codes, out = tmp_path / "codes.txt", tmp_path / "phrases.json"
    codes.write_text("486\n")
    assert main(["phrases", "--codes", str(codes), "--propose", str(llama), "--count", "2", "--out", str(out)]) == 0
    assert set(read_phrase_file(out)) <= {"486"}  # a random model may say nothing of use


def test_no_source_is_told(tmp_path, capsys):
    (tmp_path / "codes.txt").write_text("486\n")
    assert main(["phrases", "--codes", str(tmp_path / "codes.txt"), "--out", str(tmp_path / "p.json")]) == 2
    assert "name a source" in capsys.readouterr().err
