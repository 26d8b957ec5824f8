"""Codes that went through a number or belong to another classification: refused, or named with their count."""

import gzip
import json
import re

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from concept_icd.cli.main import main
from concept_icd.corpora import load_corpus, read_corpus_leniently, read_jsonl
from concept_icd.corpora.mimic3.tasks import MIMIC3_50, RARE50
from concept_icd.errors import InputError
from concept_icd.ontology.code_checks import before_zeros_were_lost, never_had, not_billable
from concept_icd.ontology.code_shapes import ICD9CM
from concept_icd.ontology.tree import load_ontology
from concept_icd.readers.label_sets import read_codes
from concept_icd.readers.predictions import read_gold, read_predictions

ICD9 = load_ontology("icd9cm")
OR_OLDER = "; they may be an older edition's or inner nodes, or a number took their zeros"


def lines(path, *records):
    path.write_text("".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records))
    return path


@pytest.mark.parametrize("code", ["038.9", "250.0", "V27", "38.9", "585", "719.70", "042.0", "36.01", "390"])
def test_what_some_edition_had(code):
    assert ICD9.had(code)


@pytest.mark.parametrize("code", ["E119", "E785", "E039", "486.0", "999.99", "250.04", "401.5", "V99.9", "000.0"])
def test_what_no_edition_had(code):
    assert not ICD9.had(code)


def test_the_retired_diagnoses_are_those_of_the_federal_list(shared_data):
    text = gzip.decompress((shared_data / "icd9_maps" / "ccs_single_dx.txt.gz").read_bytes()).decode("latin-1")
    listed = {ICD9CM[0].add_dot(code) for line in re.findall(r"(?m)^ +(.*)$", text) for code in line.split()}
    listed = {code for code in listed if ICD9CM[0].dotted.fullmatch(code)}
    assert len(listed) > 15_000
    assert all(map(ICD9.had, listed))
    assert {code for code in listed if code not in ICD9} == {c for c in ICD9._retired if ICD9.kind(c) == "diagnosis"}


@pytest.mark.parametrize(
    ("code", "meant"),
    [
        *(("38.9", "038.9"), ("40.7", "04.07"), ("66", "00.66"), ("52", "00.52"), ("250.0", "250.00")),
        *(("V27", "V27.0"), ("345.1", "345.10"), ("77.7", "77.70"), ("486.0", "486")),
    ],
)
def test_what_it_was_before_zeros_were_lost(code, meant):
    assert meant in before_zeros_were_lost(code, ICD9)


def test_a_sentence_has_the_count_and_the_codes():
    counts = {"250.0": 2, "V27": 1, "38.9": 1, "401.9": 4, "486.0": 1}
    assert not_billable(counts, ICD9, "gold assignments") == (
        "4 of the 9 gold assignments are no billable codes of ICD-9-CM: 250.0 (2 times, a trailing zero lost? 250.00), "
        "38.9 (a leading zero lost? 038.9), V27 (a trailing zero lost? V27.0)" + OR_OLDER
    )
    assert never_had(counts, ICD9, "gold assignments") == (
        "1 of the 9 gold assignments are codes that no edition of ICD-9-CM had: 486.0 (a zero too many? 486)"
    )
    assert not_billable({"401.9": 1}, ICD9, "x") is None is never_had({"36.01": 1}, ICD9, "x")
    assert not_billable({"40.7": 1}, ICD9, "x", labels={"40.7"}) is None  # a published label is as it is on purpose


@pytest.mark.parametrize("field", ["diagnoses", "codes"])
def test_a_corpus_of_another_classification_is_refused_note_by_note(tmp_path, field):
    notes = [
        {"note_id": str(n), "text": "x", field: codes} for n, codes in enumerate([["E119", "E871"], ["486"], ["E785"]])
    ]
    path = lines(tmp_path / "n.jsonl", *notes)
    with pytest.raises(InputError) as error:
        read_jsonl(path)
    assert f"line 1: 1 of the 2 codes in '{field}' are codes that no edition of ICD-9-CM had: E119" in str(error.value)
    assert "ICD-10" in str(error.value)
    assert str(error.value).endswith("1 more note cannot be read")
    found, failures = read_corpus_leniently(path)
    assert [coded.codes for coded in found] == [("486",)]
    assert len(failures) == 2


def test_annotators_may_slip(tmp_path):
    note = {"note_id": "a", "text": "x", "diagnoses": ["486"], "annotations": {"A": ["486.0"]}}
    assert read_jsonl(lines(tmp_path / "n.jsonl", note))[0].annotations == {"A": ("486.0",)}


def test_prepare_names_what_cannot_be_billed(tmp_path, capsys):
    note = {"note_id": "a", "text": "x", "diagnoses": ["250.0", "401.9"], "procedures": ["407", "66", "52"]}
    path = lines(tmp_path / "n.jsonl", note)
    assert main(["prepare", "jsonl", str(path), "--out", str(tmp_path / "c")]) == 0
    said = capsys.readouterr().out
    assert "4 of the 5 gold assignments are no billable codes of ICD-9-CM: 250.0 (a trailing zero lost? 250.00)" in said
    assert "40.7 (a leading zero lost? 04.07)" in said
    (check,) = load_corpus(tmp_path / "c").manifest["checks"]
    assert check["why"] in said
    assert main(["prepare", "jsonl", str(path), "--out", str(tmp_path / "d"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checks"][0]["why"] == check["why"]


PREDICTIONS = [
    {"note_id": "1", "probabilities": {"250.00": 0.9, "401.9": 0.8, "486": 0.1}},
    {"note_id": "2", "probabilities": {"250.00": 0.1, "401.9": 0.1, "486": 0.9}},
]


def gold_files(folder, codes):
    """The same gold of two notes in every form."""
    first, second = codes
    files = [lines(folder / "g.jsonl", {"note_id": "1", "codes": first}, {"note_id": "2", "codes": second})]
    files.append(lines(folder / "g.csv", "HADM_ID,LABELS", f"1,{';'.join(first)}", f"2,{';'.join(second)}"))
    files.append(lines(folder / "g.psv", "|".join(["1", *first]), "|".join(["2", *second])))
    columns = [*first, *second]
    rows = [[int(code in own) for code in columns] for own in codes]
    files.append(
        lines(
            folder / "m.csv", *(",".join(map(str, row)) for row in [["id", *columns], ["1", *rows[0]], ["2", *rows[1]]])
        )
    )
    listed = [{"hadm_id": "1", "LABELS": ";".join(first)}, {"hadm_id": "2", "LABELS": ";".join(second)}]
    (folder / "g.json").write_text(json.dumps(listed))
    files.append(folder / "g.json")
    table = pa.table({"_id": [1, 2], "target": [first, second]})
    pyarrow.feather.write_feather(table, folder / "g.feather")
    pq.write_table(table, folder / "g.parquet")
    return [*files, folder / "g.feather", folder / "g.parquet"]


def test_gold_of_codes_that_never_were_is_refused_in_every_form(tmp_path):
    for path in gold_files(tmp_path, (["250.00", "E119"], ["486.0"])):
        with pytest.raises(
            InputError, match="2 of the 3 gold assignments are codes that no edition of ICD-9-CM had"
        ) as error:
            read_gold(path)
        assert "486.0 (a zero too many? 486)" in str(error.value)
        assert "E119" in str(error.value)
        assert read_gold(path, ["486.0", "E119"]).codes["2"] == ("486.0",)  # a label set has them on purpose


def test_gold_that_cannot_be_billed_is_named_in_every_form(tmp_path, capsys):
    predictions = lines(tmp_path / "p.jsonl", *PREDICTIONS)
    for path in gold_files(tmp_path, (["250.0", "38.9"], ["486"])):
        out = tmp_path / f"out-{path.name}"
        words = ["--predictions", str(predictions), "--gold", str(path), "--draws", "0", "--out", str(out)]
        assert main(["evaluate", *words]) == 0
        sentence = (
            "2 of the 3 gold assignments are no billable codes of ICD-9-CM: 250.0 (a trailing zero lost? 250.00), "
            "38.9 (a leading zero lost? 038.9)" + OR_OLDER
        )
        assert sentence in " ".join(capsys.readouterr().out.split())
        assert json.loads((out / "results.json").read_text())["stamps"] == [sentence]
        assert "38.9 (a leading zero lost? 038.9)" in (out / "report.html").read_text()


def test_predictions_of_such_codes_are_named(tmp_path, capsys):
    spoilt = [{"note_id": "1", "probabilities": {"38.9": 0.9, "E119": 0.1, "486": 0.2}}]
    matrix = lines(tmp_path / "m.csv", "id,38.9,E119,486", "1,0.9,0.1,0.2")
    lists = lines(tmp_path / "p.psv", "1|38.9|E119|486")
    table = pa.table({"_id": [1], "38.9": [0.9], "E119": [0.1], "486": [0.2]})
    pyarrow.feather.write_feather(table, tmp_path / "p.feather")
    (tmp_path / "p.json").write_text(json.dumps({"1": spoilt[0]["probabilities"]}))
    for path in (lines(tmp_path / "p.jsonl", *spoilt), matrix, lists, tmp_path / "p.feather", tmp_path / "p.json"):
        assert read_predictions(path).codes == ("38.9", "E119", "486")
        said = capsys.readouterr().err
        assert "1 of the 3 codes that the predictions name are codes that no edition of ICD-9-CM had: E119" in said
        assert "38.9 (a leading zero lost? 038.9)" in said
        read_predictions(path, ["38.9", "E119"])
        assert capsys.readouterr().err == ""


def test_label_sets(tmp_path, capsys):
    assert read_codes(lines(tmp_path / "codes", "250.0", "486", "66.")) == ("250.0", "486", "66.")
    assert "1 of the 2 labels are no billable codes of ICD-9-CM: 250.0" in capsys.readouterr().err
    for labels in (MIMIC3_50, RARE50):
        assert all(map(ICD9.had, labels))
    assert read_codes(lines(tmp_path / "codes", *MIMIC3_50)) == MIMIC3_50
    assert capsys.readouterr().err == ""


def test_label_sets_that_concepts_are_asked_for(tmp_path, capsys):
    assert read_codes(lines(tmp_path / "codes", "486", "428"), must_exist=True) == ("486", "428")
    assert "1 of the 2 labels are no billable codes of ICD-9-CM: 428 (a trailing zero" in capsys.readouterr().err
    with pytest.raises(InputError, match="codes: 1 of the 2 labels are codes that no edition of ICD-9-CM had"):
        read_codes(lines(tmp_path / "codes", "486", "E119"), must_exist=True)
