"""CodiEsp in its own codes: the counts of the real files, passages in their text, and small folders of both shapes."""

import gzip
import json

import pytest

from concept_icd.corpora import load_corpus
from concept_icd.corpora.codiesp import SPLITS, read_cases
from concept_icd.corpora.codiesp_tracks import meanings, prepare_track
from concept_icd.errors import InputError
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Mention


@pytest.mark.parametrize(
    ("track", "labels", "gold", "passages"),
    [
        ("codiesp-d", 2557, [5639, 2677, 2842], 14_305),
        ("codiesp-p", 870, [1550, 817, 879], 4130),
        ("codiesp-x", 2557 + 870, [5639 + 1550, 2677 + 817, 2842 + 879], 14_305 + 4130),
    ],
)
def test_the_counts_of_the_tracks(tmp_path, shared_data, track, labels, gold, passages):
    counts, checks = prepare_track(shared_data / "codiesp", track, tmp_path / "c")
    corpus = load_corpus(tmp_path / "c")
    assert corpus.task == track
    assert corpus.manifest["counts"] == counts
    assert corpus.label_set is not None
    assert len(corpus.label_set) == labels
    assert [len(corpus.split(split)) for split in SPLITS] == [500, 250, 250]
    assert [sum(len(note.codes) for note in corpus.split(split)) for split in SPLITS] == gold
    assert not any(note.in_billing_order for note in corpus.notes)
    found = {check["name"]: check["found"] for check in checks}
    assert found["passages"] == sum(len(note.evidence) for note in corpus.notes) == passages
    assert found["codes that the classification lacks"] == 0
    ConceptSet.expand(corpus.label_set, load_ontology("icd10"), levels=("code",), aliases=corpus.aliases)


def test_passages_stand_in_the_spanish_text_and_the_translation_has_none(tmp_path, shared_data):
    prepare_track(shared_data / "codiesp", "codiesp-x", tmp_path / "es")
    first = load_corpus(tmp_path / "es").notes[0]
    assert first.diagnoses[:4] == ("N44.8", "Z20.818", "R60.9", "R52")
    assert first.procedures[:2] == ("BW03ZZZ", "3E02329")
    said = {mention.code: " ".join(first.note.text[s:e] for s, e in mention.spans) for mention in first.evidence}
    assert said["N44.8"] == "teste derecho aumentado de tama\u00f1o"
    assert said["3E02329"] == "Estreptomicina intramuscular"  # "Estreptomicina", two words between, "intramuscular"
    prepare_track(shared_data / "codiesp", "codiesp-x", tmp_path / "en", language="en")
    translated = load_corpus(tmp_path / "en").notes[0]
    assert translated.codes == first.codes
    assert translated.evidence == ()


def test_labels_that_no_edition_has():
    ontology = load_ontology("icd10")
    assert meanings(["W19.XXX", "T81.31X", "R52", "0TTB", "A00.99"], ontology) == {
        "W19.XXX": "W19",
        "T81.31X": "T81.31",
        "A00.99": "A00.9",
    }


def lines(folder, passages):
    folder.mkdir()
    for split, name in zip(SPLITS, "abc", strict=True):
        row = {"id": name, "text_es": "Fiebre alta.", "text_en": "High fever.", "dx": ["r50.9"], "proc": []}
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
        (folder / f"{split}X.tsv").write_text(passages.format(name))
    return folder


def published(folder, passages):
    for split, name in zip(SPLITS, "abc", strict=True):
        texts = folder / split / "text_files"
        texts.mkdir(parents=True)
        (texts / f"{name}.txt").write_text("Fiebre alta.")
        (folder / split / f"{split}D.tsv").write_text(f"{name}\tr50.9\n")
        (folder / split / f"{split}P.tsv").write_text("")
        (folder / split / f"{split}X.tsv").write_text(passages.format(name))
    return folder


def test_both_shapes_of_the_folder_are_the_same_cases(tmp_path):
    passages = "{0}\tDIAGNOSTICO\tr50.9\tFiebre alta\t7 11;0 6\n{0}\tDIAGNOSTICO\tr50.9\tFiebre\t0 6\n"
    found = read_cases(lines(tmp_path / "lines", passages), "es")
    assert found == read_cases(published(tmp_path / "published", passages), "es")
    assert found[0].evidence == (Mention("r50.9", ((0, 6),)), Mention("r50.9", ((0, 6), (7, 11))))
    assert read_cases(tmp_path / "lines", "en")[0].evidence == ()


@pytest.mark.parametrize(
    ("passages", "sentence"),
    [
        ("{0}\tDIAGNOSTICO\tr50.9\tFiebre\n", "trainX.tsv, line 1: not a case, a label, a code"),
        ("{0}\tDIAGNOSTICO\tr50.9\tFiebre\t0 six\n", "trainX.tsv, line 1: not a case, a label, a code"),
        ("{0}\tDIAGNOSTICO\tr50.9\tFiebre\t0 60\n", "case 'a': a passage of trainX.tsv ends after the text"),
    ],
)
def test_bad_passages_get_one_sentence(tmp_path, passages, sentence):
    with pytest.raises(InputError) as error:
        read_cases(lines(tmp_path / "c", passages), "es")
    assert sentence in str(error.value)
    assert "Fiebre" not in str(error.value)
