"""CodiEsp in ICD-9-CM: the counts of the real files, and small folders of both shapes."""

import gzip
import json

import numpy as np
import pytest

from concept_icd.corpora import load_corpus, read_codiesp
from concept_icd.corpora.codiesp import SPLITS, read_cases
from concept_icd.corpora.codiesp_tasks import label_set, prepare_codiesp, restricted
from concept_icd.corpora.equivalence_maps import BACKWARD, FORWARD
from concept_icd.errors import InputError
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote, Note
from concept_icd.tuning.examples import targets_of


@pytest.fixture(scope="module")
def cases(shared_data):
    return read_codiesp(shared_data / "codiesp", shared_data / "icd9_maps")


def test_the_real_cases(cases):
    assert [sum(note.split == split for note in cases) for split in SPLITS] == [500, 250, 250]
    assert sum(len(note.codes) for note in cases) == 10_735
    assert not any(note.in_billing_order or note.procedures for note in cases)
    assert cases[0].note.note_id == "S0004-06142005000700014-1"
    # n44.8 z20.818 r60.9 r52 a23.9 i83.90 i87.8 r50.9 n45.3 m25.50
    listed = "608.89 V01.89 782.3 780.96 023.9 454.9 459.89 780.60 604.90 719.40"
    assert cases[0].diagnoses == tuple(listed.split())


@pytest.mark.parametrize(
    ("task", "labels", "notes", "gold", "unseen"),
    [
        ("codiesp9-50", 50, [447, 212, 226], [1760, 757, 829], 0),
        ("codiesp9-rare50", 50, [198, 124, 140], [271, 163, 250], 0),
        ("codiesp9-all", 2032, [500, 250, 250], [5402, 2581, 2752], 562),
    ],
)
def test_the_counts_of_the_tasks(tmp_path, shared_data, task, labels, notes, gold, unseen):
    counts, checks = prepare_codiesp(shared_data / "codiesp", shared_data / "icd9_maps", task, tmp_path / "c")
    corpus = load_corpus(tmp_path / "c")
    assert corpus.task == task
    assert corpus.manifest["counts"] == counts
    assert corpus.label_set is not None
    assert len(corpus.label_set) == labels
    assert [len(corpus.split(split)) for split in SPLITS] == notes
    assert [sum(len(note.codes) for note in corpus.split(split)) for split in SPLITS] == gold
    assert all(note.codes and set(note.codes) <= set(corpus.label_set) for note in corpus.notes)
    found = {check["name"]: check["found"] for check in checks}
    ways = [number for name, number in found.items() if name.startswith("diagnoses carried: ")]
    assert ways == [3768, 5037, 1579, 69, 387, 72, 168, 41, 37]
    assert sum(ways) == found["ICD-10 diagnoses"] == 11_158
    assert found["diagnoses carried, ambiguous"] == 1693
    assert found["diagnoses left out"] == 41 + 37
    assert found["ICD-9-CM codes of the map outside the billable ones of v32"] == 0
    assert found["procedures"] == 1550 + 817 + 879
    assert found["labels that no training case has"] == unseen
    (listed,) = (check["codes"] for check in corpus.manifest["checks"] if check["name"].endswith("ambiguous"))
    assert len(listed) == 257
    assert sum(row["assignments"] for row in listed) == 1693
    assert {"icd10": "i10", "icd9": ["401.9"], "way": "alternatives", "alternatives": ["401.0", "401.1", "401.9"],
            "assignments": 161} in listed  # fmt: skip


def notes_with(split, *codes_of_notes):
    return [
        CodedNote(Note(f"{split}{i}", "Text."), tuple(codes.split()), split=split)
        for i, codes in enumerate(codes_of_notes)
    ]


def test_label_sets_by_hand(monkeypatch):
    monkeypatch.setattr("concept_icd.corpora.codiesp_tasks.SIZE", 2)
    notes = notes_with("train", "401.9 486", "486 042", "042", "780.60")
    notes += notes_with("dev", "V10.3", "401.9", "401.9")
    notes += notes_with("test", "780.60 042", "486", "486 401.9", "401.9", "401.9", "E888.9")
    assert label_set("codiesp9-50", notes) == ("042", "486")  # two training cases each; dev and test do not count
    assert label_set("codiesp9-rare50", notes) == ("042", "486")  # 401.9 and 780.60 have one training case
    assert label_set("codiesp9-all", notes) == ("042", "401.9", "486", "780.60", "E888.9", "V10.3")
    notes += notes_with("train", "401.9", *["486"] * 7)  # now 2 and 9
    assert label_set("codiesp9-rare50", notes) == ("042", "401.9")
    assert restricted(notes[1], ("042",)).diagnoses == ("042",)


def test_the_order_of_the_codes_is_not_learnt_and_votes_are_the_gold(cases):
    concepts = ConceptSet.expand(tuple(sorted(set(cases[0].codes))), load_ontology("icd9cm"))
    assert np.array_equal(targets_of(cases[0], concepts, 0.5), targets_of(cases[0], concepts))


def maps(folder):
    head = "flags,approximate,no_map,combination,scenario,choice_list\n"
    rows = "I10,4019,00000,0,0,0,0,0\nR509,78060,00000,0,0,0,0,0\nB20,042,00000,0,0,0,0,0\nZ3A38,NoDx,11000,1,1,0,0,0\n"
    folder.mkdir()
    (folder / f"{FORWARD}.csv").write_text(f"icd10cm,icd9cm,{head}{rows}")
    (folder / f"{BACKWARD}.csv").write_text(f"icd9cm,icd10cm,{head}")
    return folder


def case(name="a", **fields):
    return json.dumps({"id": name, "text_en": "Fever.", "dx": ["r50.9", "i10", "R50.9"], "proc": ["0ttb"]} | fields)


def lines(folder, **texts):
    folder.mkdir()
    for split, name in zip(SPLITS, "abc", strict=True):
        text = texts.get(split, case(name))
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def published(folder):
    for split, name in zip(SPLITS, "abc", strict=True):
        texts = folder / split / "text_files_en"
        texts.mkdir(parents=True)
        (texts / f"{name}.txt").write_text("Fever.")
        (folder / split / f"{split}D.tsv").write_text(f"{name}\tr50.9\n{name}\ti10\n{name}\tR50.9\n")
        (folder / split / f"{split}P.tsv").write_text(f"{name}\t0ttb\n")
    return folder


def test_both_shapes_of_the_folder_are_the_same_cases(tmp_path):
    found = read_cases(lines(tmp_path / "lines"))
    assert found == read_cases(published(tmp_path / "published"))
    assert [(c.case_id, c.split, c.diagnoses, c.procedures) for c in found] == [
        (name, split, ("r50.9", "i10"), ("0ttb",)) for name, split in zip("abc", SPLITS, strict=True)
    ]
    notes = read_codiesp(tmp_path / "published", maps(tmp_path / "maps"))
    assert notes[0].diagnoses == ("780.60", "401.9")
    for shape, task in (("lines", "x"), ("published", "y")):
        prepare_codiesp(tmp_path / shape, tmp_path / "maps", "codiesp9-all", tmp_path / task)
    assert load_corpus(tmp_path / "x").notes == load_corpus(tmp_path / "y").notes


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ("{", "train.jsonl.gz, line 1: not a case with id"),
        (case() + '\n{"id": "x"}', "train.jsonl.gz, line 2: not a case with id"),
        (case(dx=[1]), "line 1: not a case with id"),
        (case(text_en=" "), "case 'a': the note is empty"),
        (case() + "\n" + case("b"), "case 'b': it stands twice, in dev the second time"),
    ],
)
def test_bad_lines_get_one_sentence(tmp_path, train, sentence):
    with pytest.raises(InputError) as error:
        read_cases(lines(tmp_path / "c", train=train))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert "Fever" not in str(error.value)


def test_bad_folders_get_one_sentence(tmp_path):
    with pytest.raises(InputError, match="holds no train part of CodiEsp"):
        read_cases(tmp_path)
    folder = published(tmp_path / "p")
    (folder / "dev" / "text_files_en" / "b.txt").unlink()
    with pytest.raises(InputError, match=r"text_files_en lacks b.txt"):
        read_cases(folder)
    (folder / "train" / "trainP.tsv").write_text("a 0ttb\n")
    with pytest.raises(InputError, match=r"trainP.tsv, line 1: not a case and a code"):
        read_cases(folder)
    (lines(tmp_path / "l") / "test.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match=r"cannot read .*test.jsonl.gz"):
        read_cases(tmp_path / "l")


def test_a_task_that_is_none_and_one_without_cases(tmp_path):
    corpus = lines(tmp_path / "c", train=case("a", dx=["z3a.38"]), dev=case("b", dx=[]), test=case("c", dx=["q99"]))
    tables = maps(tmp_path / "m")
    with pytest.raises(InputError, match=r"no task 'codiesp9-al' .*did you mean 'codiesp9-all'"):
        prepare_codiesp(corpus, tables, "codiesp9-al", tmp_path / "o")
    with pytest.raises(InputError, match=r"no case of .* has a code of codiesp9-all"):
        prepare_codiesp(corpus, tables, "codiesp9-all", tmp_path / "o")
    assert not (tmp_path / "o").exists()
