"""The files of other coders: each form, written from known matrices, says the same as our own JSON lines."""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from concept_icd.errors import InputError
from concept_icd.readers.predictions import read_gold, read_predictions
from concept_icd.report import EvaluationInputs, evaluate
from concept_icd.report.alignment import align

CODES = ("401.9", "428.0", "003.1", "V30.01", "E888.9", "04.07", "99.04")
NOTES = tuple(str(100_000 + note) for note in range(30))
RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.random((30, 7)) < 0.3
# float32, as a network's outputs are: what is written as text reads back as the same number
PROBABILITIES = np.clip(0.3 * TRUTH + RANDOM.random((30, 7)) * 0.7, 0, 1).astype(np.float32)
ACCEPTED = PROBABILITIES >= 0.5


def gold_of(row):
    return [code for code, is_gold in zip(CODES, TRUTH[row], strict=True) if is_gold]


def write_table(path, rows, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def zipped(path):
    target = path.with_name(path.name + ".gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


def jsonl_predictions(folder):
    path = folder / "p.jsonl"
    lines = [
        json.dumps({"note_id": note, "probabilities": dict(zip(CODES, map(float, values), strict=True))})
        for note, values in zip(NOTES, PROBABILITIES, strict=True)
    ]
    path.write_text("\n".join(lines))
    return path


def jsonl_gold(folder):
    path = folder / "g.jsonl"
    path.write_text("\n".join(json.dumps({"note_id": n, "codes": gold_of(row)}) for row, n in enumerate(NOTES)))
    return path


def csv_matrix(folder, matrix=PROBABILITIES, name="matrix.csv", delimiter=",", first="note_id"):
    rows = [[note, *map(repr, map(float, values))] for note, values in zip(NOTES, matrix, strict=True)]
    return write_table(folder / name, [[first, *CODES], *rows], delimiter)


def edin_table():
    """As `save_predictions` of Edin et al.: a column a code, then target and _id."""
    columns = {code: PROBABILITIES[:, column] for column, code in enumerate(CODES)}
    target = pa.array([gold_of(row) for row in range(30)], pa.list_(pa.string()))
    return pa.table(columns | {"target": target, "_id": pa.array([int(note) for note in NOTES])})


def edin_feather(folder):
    path = folder / "predictions_test.feather"
    pyarrow.feather.write_feather(edin_table(), path)
    return path


def parquet(folder):
    path = folder / "predictions.parquet"
    pyarrow.parquet.write_table(edin_table(), path)
    return path


def half_precision(folder):
    """Half precision on a GPU: the cells are float16."""
    table = edin_table()
    halves = [table.column(code).to_numpy().astype(np.float16) for code in CODES]
    path = folder / "half.feather"
    pyarrow.feather.write_feather(pa.table(dict(zip(CODES, halves, strict=True)) | {"_id": table.column("_id")}), path)
    return path


def caml_scores(folder):
    """As `write_preds` of CAML: whole numbers as keys, the highest scores first, indent 1."""
    scores = {}
    for note, values in zip(NOTES, PROBABILITIES, strict=True):
        scores[int(note)] = {CODES[column]: float(values[column]) for column in np.argsort(values)[::-1][:100]}
    path = folder / "pred_100_scores_test.json"
    path.write_text(json.dumps(scores, indent=1))
    return path


def caml_psv(folder):
    """As `write_preds` of CAML: csv with |, `id|` where nothing is accepted."""
    rows = [
        [note, *[code for code, is_in in zip(CODES, row, strict=True) if is_in]] if row.any() else [note, ""]
        for note, row in zip(NOTES, ACCEPTED, strict=True)
    ]
    return write_table(folder / "preds_test.psv", rows, "|")


def caml_gold(folder):
    """As CAML's test_50.csv, with a text that has every mark of a table, and a label twice."""
    rows = [
        ["7", note, 'hand "in" |\thand,\nsecond line ' * 3000, ";".join(gold_of(row) * 2), "3"]
        for row, note in enumerate(NOTES)
    ]
    return write_table(folder / "test_50.csv", [["SUBJECT_ID", "HADM_ID", "TEXT", "LABELS", "length"], *rows])


def msmn_gold(folder):
    records = [
        {"subject_id": "7", "hadm_id": note, "LABELS": ";".join(gold_of(row)), "TEXT": "text", "Addition": ""}
        for row, note in enumerate(NOTES)
    ]
    path = folder / "mimic3-50_test.json"
    path.write_text(json.dumps(records, indent=4))
    return path


def gold_lines(folder):
    return write_table(folder / "gold.psv", [[note, *gold_of(row)] for row, note in enumerate(NOTES)], "|")


@pytest.fixture
def expected(tmp_path):
    return measured(jsonl_predictions(tmp_path), jsonl_gold(tmp_path))


def measured(predictions, gold):
    matrices = align(read_predictions(predictions), read_gold(gold), CODES)
    soft = EvaluationInputs(matrices.gold, matrices.probabilities, matrices.codes, matrices.note_ids)
    hard = replace(soft, decisions=matrices.decisions, threshold_source="their own")
    return evaluate(hard if matrices.probabilities is None else soft, draws=0)


@pytest.mark.parametrize(
    "write",
    [
        *(csv_matrix, edin_feather, parquet, caml_scores),
        lambda folder: zipped(csv_matrix(folder)),
        lambda folder: zipped(edin_feather(folder)),
        lambda folder: zipped(caml_scores(folder)),
        lambda folder: zipped(jsonl_predictions(folder)),
        lambda folder: csv_matrix(folder, name="matrix.psv", delimiter="|", first="HADM_ID"),
        lambda folder: csv_matrix(folder, name="matrix.tsv", delimiter="\t", first=""),
    ],
)
def test_every_form_of_probabilities_gives_the_figures_of_json_lines(tmp_path, expected, write):
    found = measured(write(tmp_path), tmp_path / "g.jsonl")
    assert found.figures == expected.figures
    assert found.notes_hash == expected.notes_hash


@pytest.mark.parametrize(
    "write",
    [
        *(edin_feather, parquet, caml_gold, msmn_gold, gold_lines),
        lambda folder: zipped(caml_gold(folder)),
        lambda folder: csv_matrix(folder, TRUTH, "gold.csv"),
    ],
)
def test_every_form_of_gold_gives_the_figures_of_json_lines(tmp_path, expected, write):
    found = measured(tmp_path / "p.jsonl", write(tmp_path))
    assert found.figures == expected.figures


def test_half_precision_is_read_as_it_is(tmp_path):
    found = read_predictions(half_precision(tmp_path))
    assert found.probabilities == pytest.approx(PROBABILITIES, abs=1e-3)


@pytest.mark.parametrize("write", [caml_psv, lambda folder: csv_matrix(folder, ACCEPTED, "decisions.csv")])
def test_decisions_give_the_figures_of_decisions_and_no_other(tmp_path, expected, write):
    found = measured(write(tmp_path), tmp_path / "g.jsonl")
    names = ("micro_f1", "macro_f1", "macro_f1_caml", "macro_f1_present", "exact_match", "micro_precision")
    assert {name: found.figures[name] for name in names} == {name: expected.figures[name] for name in names}
    assert not [name for name in found.figures if "auc" in name or "_at_" in name or name in ("map", "ndcg", "brier")]
    assert found.curves == {}
    assert "decisions without probabilities" in found.ranked_by


def test_patients_come_with_the_gold(tmp_path):
    assert set(read_gold(caml_gold(tmp_path)).patients.values()) == {"7"}
    assert set(read_gold(msmn_gold(tmp_path)).patients.values()) == {"7"}


def test_a_label_of_a_set_may_head_a_column(tmp_path):
    path = write_table(tmp_path / "m.csv", [["note_id", "66.", "40.7"], ["a", ".5", "1"]])
    found = read_predictions(path, ["66.", "40.7"])
    assert (found.codes, found.probabilities.tolist()) == (("66.", "40.7"), [[0.5, 1.0]])
    with pytest.raises(InputError, match=r"m\.csv, header: '66\.' is no"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["note_id", "428.0"], ["a", "high"]], "line 2: the cell of 428.0 is no number"),
        ([["note_id", "428.0"], ["a", ""]], "the probability of 428.0 for note 'a' is nan"),
        ([["note_id", "428.0"], ["a", "-3.2"]], "is -3.2, not a number between 0 and 1; apply the sigmoid first"),
        ([["note_id", "428.0"], ["a", ".1"], ["b", ".1", ".2"]], "line 3 has 3 cells, the header 2"),
        ([["note_id", "428.0"], ["a", ".1"], ["a", ".2"]], "row 2: the note 'a' stands there twice"),
        ([["note_id", "428.0"], ["", ".1"]], "row 1: it has no note id"),
        ([["note_id", "428.0"]], "holds no note"),
        ([["note_id", "V30.01", "v3001"], ["a", ".1", ".2"]], "header: the code V30.01 stands there twice"),
        ([["note_id", "4280.0"], ["a", ".1"]], "header: '4280.0' is no"),
        ([["only"]], "line 1 has one cell"),
        ([["1", "428.0"], ["1", "401.9"]], "line 2: note '1' stands on line 1 already"),
        ([["1", "428.0"], ["2", "banana"]], "line 2: 'banana' is no"),
    ],
)
def test_a_bad_table_is_told(tmp_path, rows, message):
    path = write_table(tmp_path / "bad.csv", rows)
    with pytest.raises(InputError) as raised:
        read_predictions(path)
    assert message in str(raised.value)
    assert "bad.csv" in str(raised.value)


def test_no_text_of_a_note_is_quoted(tmp_path):
    secret = "Mr Smith was admitted"
    gold = write_table(tmp_path / "g.csv", [["HADM_ID", "TEXT", "428.0"], ["1", secret, "1"]])
    torn = write_table(tmp_path / "t.csv", [["HADM_ID", "428.0"], ["1", secret]])
    bare = write_table(tmp_path / "b.csv", [["1", secret]])
    cases = ((read_gold, gold), (read_predictions, gold), (read_predictions, torn), (read_gold, bare))
    for read, path in cases:
        with pytest.raises(InputError) as raised:
            read(path)
        assert secret not in str(raised.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"_id": [1.5], "428.0": [0.1]}, "the ids in column '_id' are double"),
        ({"428.0": [0.1]}, "has no column of note ids"),
        ({"_id": [1], "428.0": ["x"]}, "the column of 428.0 holds string, not probabilities"),
        ({"_id": [1], "428.0": [None]}, "the column of 428.0 holds null, not probabilities"),
        ({"_id": [1], "428.0": [7]}, "the probability of 428.0 for note '1' is 7"),
        ({"_id": [1], "target": [["428.0"]]}, "has no column of a code"),
        ({"_id": [1, 1], "428.0": [0.1, 0.2]}, "the note '1' stands there twice"),
    ],
)
def test_a_bad_feather_file_is_told(tmp_path, columns, message):
    path = tmp_path / "bad.feather"
    pyarrow.feather.write_feather(pa.table(columns), path)
    with pytest.raises(InputError) as raised:
        read_predictions(path)
    assert message in str(raised.value)


def test_damaged_files_are_told(tmp_path):
    for whole in (edin_feather(tmp_path), parquet(tmp_path), zipped(csv_matrix(tmp_path))):
        torn = tmp_path / f"torn{''.join(whole.suffixes)}"
        torn.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        with pytest.raises(InputError, match="damaged"):
            read_predictions(torn)


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_predictions, "[]", "holds no note"),
        (read_predictions, "[1]", "is no predictions"),
        (read_predictions, '{"a": {"428.0": 3}}', "note 'a': the probability of 428.0 is 3"),
        (read_predictions, '{"a": {"x": 0.3}}', "note 'a': 'x' is no"),
        (read_predictions, '{"a": ', "is not valid JSON (Expecting value on line 1)"),
        (read_gold, '{"a": {}}', "is no gold"),
        (read_gold, '[{"hadm_id": 1}]', "record 1 has no LABELS"),
        (read_gold, '[{"LABELS": "428.0"}]', "record 1 has no column of note ids"),
        (read_gold, '[{"hadm_id": 1, "LABELS": "x"}]', "record 1: 'x' is no"),
        (read_gold, '[{"hadm_id": 1, "LABELS": ""}, {"hadm_id": "1", "LABELS": ""}]', "record 2: note '1' stands"),
    ],
)
def test_a_bad_json_file_is_told(tmp_path, read, content, message):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(InputError) as raised:
        read(path)
    assert message in str(raised.value)


def test_json_lines_may_be_called_json(tmp_path):
    path = tmp_path / "lines.json"
    path.write_text(Path(jsonl_predictions(tmp_path)).read_text())
    assert read_predictions(path).note_ids == NOTES


@pytest.fixture
def corpus(tmp_path):
    from concept_icd.corpora import save_corpus
    from concept_icd.records import CodedNote, Note

    def note(name, split, *codes):
        return CodedNote(Note(name, "text", f"p{name}"), codes, ("66.",), split=split)

    notes = [note("a", "train", "428.0"), note("b", "train", "401.9"), note("c", "dev"), note("d", "test", "428.0")]
    notes.append(CodedNote(Note("e", "text", "pe"), split="test"))
    benchmark = {"label_set": ("428.0", "401.9", "66."), "aliases": {"66.": "00.66"}, "task": "mimic3-full"}
    save_corpus(tmp_path / "corpus", notes, **benchmark)
    return tmp_path / "corpus"


def test_a_prepared_corpus_is_gold(corpus):
    found = read_gold(corpus)
    assert found.codes == {"d": ("428.0", "66.")}
    assert found.patients == {"d": "pd"}
    assert found.others == {"a", "b", "c", "e"}
    assert (found.label_set, found.aliases) == (("428.0", "401.9", "66."), {"66.": "00.66"})
    assert (found.task, found.train_stays) == ("mimic3-full", 2)
    assert list(read_gold(corpus, split="train").codes) == ["a", "b"]
    assert list(read_gold(corpus, split="all").codes) == ["a", "b", "c", "d"]


def test_what_is_no_split_and_no_file_is_told(corpus, tmp_path):
    with pytest.raises(InputError, match="no coded note of the split 'x'; it has dev, test, train"):
        read_gold(corpus, split="x")
    with pytest.raises(InputError, match="only a prepared corpus has splits"):
        read_gold(jsonl_gold(tmp_path), split="test")
    with pytest.raises(InputError, match="is a folder; predictions are one file"):
        read_predictions(corpus)
    (corpus / "notes.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"notes\.parquet is missing or damaged"):
        read_gold(corpus)


DECIMALS = ["hadm_id;250.00;401.9;", "1;0,9;0,8;", "2;0,1;1;"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_spreadsheet_of_another_country(tmp_path, mark, end):
    text = end.join(DECIMALS).replace(";", mark)
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = read_predictions(tmp_path / "m.csv")
    assert (found.note_ids, found.codes) == (("1", "2"), ("250.00", "401.9"))
    assert found.probabilities.tolist() == [[0.9, 0.8], [0.1, 1.0]]


def test_quoted_numbers_with_decimal_commas_and_the_index_of_a_data_frame(tmp_path):
    (tmp_path / "m.csv").write_text('Unnamed: 0,id,250.00,401.9\n0,1,"0,9","0,8"\n1,2,"0,1","1"\n')
    assert read_predictions(tmp_path / "m.csv").probabilities.tolist() == [[0.9, 0.8], [0.1, 1.0]]


def test_gold_of_a_spreadsheet_with_empty_cells_behind_the_last(tmp_path):
    (tmp_path / "g.csv").write_bytes(b'HADM_ID;LABELS\r\n1;"250.00;401.9";;\r\n2;486;;\r\n')
    assert read_gold(tmp_path / "g.csv").codes == {"1": ("250.00", "401.9"), "2": ("486",)}


def test_one_cell_a_line_names_the_marks_that_are_looked_for(tmp_path):
    (tmp_path / "m.csv").write_text("hadm_id 250.00\n1 0.9\n")
    with pytest.raises(InputError, match=r"no comma, semicolon, tab or \| stands in it"):
        read_predictions(tmp_path / "m.csv")


def test_gold_that_is_not_read_is_named(tmp_path, capsys):
    lines = [{"note_id": "1", "codes": ["486"], "icd": ["038.9"]}, {"note_id": "2", "codes": ["486"], "ward": ["7"]}]
    (tmp_path / "gold.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_gold(tmp_path / "gold.jsonl").codes == {"1": ("486",), "2": ("486",)}
    said = capsys.readouterr().err
    assert "gold.jsonl: the field 'icd' holds ICD-9-CM codes in 1 of 2 notes and is not read; rename it" in said
    assert "ward" not in said


def test_gold_of_a_table_that_is_not_read_is_named(tmp_path, capsys):
    (tmp_path / "gold.csv").write_text("HADM_ID,LABELS,ICD9_PROC,length\n1,038.9;428.0,99.04,37.5\n2,486,,12\n")
    assert read_gold(
        tmp_path / "gold.csv",
    ).codes == {"1": ("038.9", "428.0"), "2": ("486",)}
    said = capsys.readouterr().err
    assert "gold.csv: the field 'ICD9_PROC' holds ICD-9-CM codes in 1 of 2 notes and is not read" in said
    assert "length" not in said


def test_gold_that_is_given_twice_is_refused(tmp_path):
    line = {"note_id": "1", "codes": ["486"], "diagnoses": ["428.0"], "procedures": ["99.04"]}
    (tmp_path / "gold.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(InputError, match=r"gold\.jsonl, line 1: give either 'codes' or 'diagnoses' and 'procedures'"):
        read_gold(tmp_path / "gold.jsonl")
