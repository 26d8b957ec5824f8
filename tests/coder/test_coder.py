from __future__ import annotations

import dataclasses
import json
import random
import shutil
from pathlib import Path

import pytest

from concept_icd.artifacts import read_manifest
from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora.gold import gold_matrix
from concept_icd.errors import InputError
from concept_icd.heads.fitting import HeadOptions
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote, Note
from tests.fitted_coder import CODES


@pytest.fixture
def folder(fitted, tmp_path) -> Path:
    fitted.coder.save_pretrained(tmp_path / "coder", inputs={"scores": "abc"}, seed=0)
    return tmp_path / "coder"


def test_a_note_becomes_every_code_ranked_with_concepts_and_path(fitted):
    result = fitted.coder.code("Cough, fever and wheezing. History of asthma.")
    assert sorted(code.code for code in result.codes) == sorted(CODES)
    assert [code.rank for code in result.codes] == [1, 2, 3, 4, 5, 6]
    probabilities = [code.probability for code in result.codes]
    assert probabilities == sorted(probabilities, reverse=True)
    threshold = fitted.coder.heads.threshold
    for code in result.codes:
        assert code.accepted == (code.probability >= threshold.value or (threshold.at_least_one and code.rank == 1))
        assert 1 <= len(code.concepts) <= 5
        contributions = [concept.contribution for concept in code.concepts]
        assert contributions == sorted(contributions, reverse=True)
    pneumonia = next(code for code in result.codes if code.code == "486")
    assert pneumonia.path == ("460-519", "480-488", "486")
    assert (pneumonia.kind, pneumonia.title.lower()[:9]) == ("diagnosis", "pneumonia")
    assert next(code for code in result.codes if code.code == "38.93").kind == "procedure"
    assert json.loads(json.dumps(result.to_dict()))["codes"][0]["rank"] == 1
    assert result.versions["heads_fitted_on"] == "out-of-fold scores"
    assert result.versions["concepts"] == fitted.coder.concepts.hash[:12]


def test_what_was_learned_holds_on_new_notes(fitted):
    test_scores = fitted.scores.select([coded.note.note_id for coded in fitted.test])
    gold, _ = gold_matrix(test_scores.note_ids, fitted.test, CODES)
    probabilities = fitted.coder.predict_proba(test_scores)
    assert probabilities[gold].mean() > probabilities[~gold].mean() + 0.3


def test_batches_change_nothing(fitted):
    notes = [coded.note for coded in fitted.test[:5]]
    together = list(fitted.coder.code_batch(notes))
    in_twos = list(fitted.coder.code_batch(notes, batch=2))
    assert [result.note_id for result in in_twos] == [note.note_id for note in notes]
    for one, other in zip(together, in_twos, strict=True):
        assert [code.code for code in one.codes] == [code.code for code in other.codes]
        assert [c.probability for c in one.codes] == pytest.approx([c.probability for c in other.codes], abs=1e-4)


def test_saved_and_loaded_it_is_the_same_coder(fitted, folder):
    again = ConceptCoder.from_pretrained(folder)
    assert again.hash == fitted.coder.hash
    assert (again.predict_proba(fitted.scores) == fitted.coder.predict_proba(fitted.scores)).all()
    text = "Urinary infection. Line placed."
    assert again.code(text).to_dict() == fitted.coder.code(text).to_dict()
    assert read_manifest(folder, "fit")["inputs"] == {"scores": "abc"}
    assert not any(path.suffix in (".bin", ".pt", ".pkl", ".joblib") for path in folder.rglob("*"))


def test_a_moved_model_is_found_by_name_and_another_model_is_refused(fitted, folder, llama, qwen3, tmp_path):
    moved = shutil.copytree(llama, tmp_path / "moved")
    assert ConceptCoder.from_pretrained(folder, model=moved).code("cough").codes
    with pytest.raises(InputError, match="is not the model that the coder was fitted with"):
        ConceptCoder.from_pretrained(folder, model=qwen3).code("cough")
    with pytest.raises(InputError, match="is not there"):
        ConceptCoder.from_pretrained(folder, model=tmp_path / "nowhere").code("cough")
    # One changed weight is another model.
    weights = moved / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-40] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="is not the model"):
        ConceptCoder.from_pretrained(folder, model=moved).code("cough")


def test_gold_of_test_notes_moves_no_prediction(fitted):
    """Test notes travel with the corpus, but the coder is the same to the bit whatever codes they carry."""
    train_scores = fitted.scores.select([coded.note.note_id for coded in fitted.train])
    rng = random.Random(0)
    permuted = rng.sample([coded.diagnoses for coded in fitted.test], k=20)
    test = [dataclasses.replace(c, diagnoses=d) for c, d in zip(fitted.test, permuted, strict=True)]
    assert test != fitted.test
    again = ConceptCoder.fit(train_scores, [*fitted.train, *test], fitted.coder.concepts, **fitted.arguments)
    assert again.hash == fitted.coder.hash
    # The check can fail: other train codes make another coder.
    other = [dataclasses.replace(fitted.train[0], diagnoses=("486", "786.2")), *fitted.train[1:]]
    assert ConceptCoder.fit(train_scores, other, fitted.coder.concepts, **fitted.arguments).hash != again.hash


def test_a_coder_without_anything_learnt_has_no_lexicon_and_ranks_by_probability(fitted):
    plain = fit_again(fitted, order="none")
    assert plain.lexicon is None
    assert plain.heads.ranker.learned is None
    for result in plain.results(fitted.scores, notes=[coded.note for coded in fitted.test]):
        probabilities = [code.probability for code in result.codes]
        assert probabilities == sorted(probabilities, reverse=True)


def fit_again(fitted, train=None, **options):
    train = train or fitted.train
    scores = fitted.scores.select([coded.note.note_id for coded in train])
    return ConceptCoder.fit(scores, train, fitted.coder.concepts, **fitted.arguments, options=HeadOptions(**options))


@pytest.fixture(scope="module")
def ordered(fitted) -> ConceptCoder:
    """Fitted on notes whose codes stand in the order 786.2, 780.6, ..., in a note with text that tells the first."""
    train = []
    for coded in fitted.train:
        codes = sorted(coded.diagnoses, reverse=True)
        text = f"CHIEF COMPLAINT: {' '.join(reversed(codes[:1]))} {coded.note.text}"
        note = dataclasses.replace(coded.note, text=text)
        train.append(dataclasses.replace(coded, note=note, diagnoses=tuple(codes)))
    return fit_again(fitted, train)


def test_the_order_is_learnt_and_what_is_accepted_stays(fitted, ordered):
    assert ordered.heads.ranker.learned is not None
    plain, moved = fit_again(fitted, order="none"), 0
    for one, other in zip(plain.results(fitted.scores), ordered.results(fitted.scores), strict=True):
        accepted = [code.code for code in other.accepted if code.kind == "diagnosis"]
        assert {code.code for code in one.accepted} == {code.code for code in other.accepted}
        assert [code.accepted for code in one.codes] == [code.accepted for code in other.codes]
        assert {code.code: code.probability for code in one.codes} == {c.code: c.probability for c in other.codes}
        assert [code.rank for code in other.codes] == [1, 2, 3, 4, 5, 6]
        moved += one.codes != other.codes and accepted == sorted(accepted, reverse=True)
    assert moved > 10


def test_a_note_without_text_has_an_order_too(fitted, ordered):
    notes = [dataclasses.replace(coded.note, text="") for coded in fitted.test]
    scores = fitted.scores.select([note.note_id for note in notes])
    assert (ordered.rank(scores, notes=notes) == ordered.rank(scores)).all()
    some = [coded.note for coded in fitted.test[:5]]
    assert (ordered.rank(scores, notes=some)[5:] == ordered.rank(scores)[5:]).all()


def test_the_lexicon_travels_with_the_coder(fitted, ordered, tmp_path):
    assert ordered.lexicon is not None
    ordered.save_pretrained(tmp_path / "coder")
    again = ConceptCoder.from_pretrained(tmp_path / "coder")
    assert again.hash == ordered.hash
    notes = [coded.note for coded in fitted.test]
    assert (again.rank(fitted.scores, notes=notes) == ordered.rank(fitted.scores, notes=notes)).all()
    (tmp_path / "coder" / "lexicon.json").write_text("{}")
    with pytest.raises(InputError, match=r"lexicon\.json is missing or damaged"):
        ConceptCoder.from_pretrained(tmp_path / "coder")


def test_codes_that_are_a_set_teach_no_order(fitted):
    votes = {"A": ("486",), "B": ("486",)}
    train = [*fitted.train[:-1], dataclasses.replace(fitted.train[-1], annotations=votes)]
    assert "order" not in fit_again(fitted, train).heads.cross_validation
    assert "order" in fit_again(fitted, train, order="billing").heads.cross_validation


def test_a_spoilt_label_is_told_as_the_code_it_means(fitted):
    labels = ["48.6" if code == "486" else code for code in CODES]
    concepts = ConceptSet.expand(labels, load_ontology("icd9cm"), aliases={"48.6": "486"})
    coder = dataclasses.replace(fitted.coder, concepts=concepts)
    scores = dataclasses.replace(fitted.scores.select(["test-0"]), concept_hash=concepts.hash)
    pneumonia = next(code for code in next(coder.results(scores)).codes if code.code == "48.6")
    assert (pneumonia.kind, pneumonia.path) == ("diagnosis", ("460-519", "480-488", "486"))
    assert pneumonia.title == load_ontology("icd9cm").title("486")


def test_in_sample_scores_are_refused_or_stamped(fitted):
    scores = dataclasses.replace(fitted.scores, out_of_fold=False)
    coded = fitted.train + fitted.test
    with pytest.raises(InputError, match="not out-of-fold"):
        ConceptCoder.fit(scores, coded, fitted.coder.concepts, **fitted.arguments)
    stamped = ConceptCoder.fit(scores, coded, fitted.coder.concepts, **fitted.arguments, allow_in_sample=True)
    assert stamped.versions["heads_fitted_on"] == "IN-SAMPLE scores"


def test_scores_must_fit_concepts_and_corpus(fitted):
    other = ConceptSet.expand(CODES[:3], load_ontology("icd9cm"))
    with pytest.raises(InputError, match="another concept set"):
        ConceptCoder.fit(fitted.scores, fitted.train, other, **fitted.arguments)
    with pytest.raises(InputError, match="'test-0' is not in the corpus"):
        ConceptCoder.fit(fitted.scores, fitted.train, fitted.coder.concepts, **fitted.arguments)
    with pytest.raises(InputError, match="another concept set"):
        fitted.coder.predict_proba(dataclasses.replace(fitted.scores, concept_hash="x"))


def test_gold_matrix_ignores_codes_outside_the_set():
    coded = CodedNote(Note("a", "text", patient_id="p"), ("486", "V10.00"), ("38.93",))
    gold, patients = gold_matrix(["a"], [coded], CODES)
    assert gold.tolist() == [[True, False, False, False, False, True]]
    assert patients == ["p"]


@pytest.mark.parametrize("text", ["", "  \n", "cough\0fever"])
def test_what_is_no_note_is_refused_without_its_text(fitted, text):
    with pytest.raises(InputError) as caught:
        fitted.coder.code(text)
    assert "cough" not in str(caught.value)


def test_a_note_beyond_the_models_length_says_what_was_not_read(fitted):
    result = fitted.coder.code("cough and fever " * 60_000)  # close to a million characters
    assert result.truncated is not None
    assert "960,000" in result.truncated
    assert fitted.coder.code("cough").truncated is None


def test_a_coder_reads_notes_as_its_scores_were_made(fitted, tmp_path):
    settings = {"max_length": 200, "note_text": "sections"}
    arguments = fitted.arguments | {"scorer_settings": settings}
    scores = fitted.scores.select([note.note.note_id for note in fitted.train])
    coder = ConceptCoder.fit(scores, fitted.train, fitted.coder.concepts, **arguments)
    coder.save_pretrained(tmp_path / "coder")
    again = ConceptCoder.from_pretrained(tmp_path / "coder")
    assert again.scorer_settings == settings
    assert again.hash != fitted.coder.hash
    result = again.code("SOCIAL HISTORY: " + "normal " * 200 + "\nHOSPITAL COURSE: fever\n")
    assert result.truncated is not None
    assert result.truncated.startswith("to fit 200 tokens, Social History was cut at its end")


def _replace_in(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (shutil.rmtree, "there is no coder in .*concept-icd demo"),
        (lambda folder: _replace_in(folder / "coder.json", format=99), "format 99, this version reads 3"),
        (lambda folder: (folder / "coder.json").write_text('{"format": 3}'), "coder.json is damaged"),
        (lambda folder: (folder / "coder.json").write_text("[1"), "not valid JSON"),
        (lambda folder: _replace_in(folder / "coder.json", scorer_settings={"max_length": 9}), "changed after"),
        (lambda folder: (folder / "concepts.json").unlink(), "concepts.json is missing or damaged"),
        (lambda folder: (folder / "prompt.yaml").write_text("name: other"), "prompt.yaml is missing or damaged"),
        (lambda folder: (folder / "heads.safetensors").write_bytes(b"\1" * 99), "heads.safetensors is damaged"),
        (lambda folder: (folder / "adapter" / "adapter_model.safetensors").unlink(), "no adapter_model.safetensors"),
        (lambda folder: (folder / "adapter" / "adapter_config.json").write_text("{}"), "damaged or exchanged"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_sentence(folder, damage, sentence):
    damage(folder)
    with pytest.raises(InputError, match=sentence):
        ConceptCoder.from_pretrained(folder).code("cough")


def test_a_folder_that_exists_is_kept(fitted, folder):
    before = (folder / "coder.json").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        fitted.coder.save_pretrained(folder)
    assert (folder / "coder.json").read_bytes() == before
    fitted.coder.save_pretrained(folder, overwrite=True)
    assert [path.name for path in folder.parent.iterdir()] == ["coder"]


def test_the_old_names_of_two_keywords_still_work_and_say_so(fitted):
    scores = fitted.scores.select([coded.note.note_id for coded in fitted.train])
    with pytest.warns(DeprecationWarning, match="`selection` and `experts`"):
        coder = ConceptCoder.fit(scores, fitted.train, fitted.coder.concepts, **fitted.arguments, views=[])
    assert coder.hash == fitted.coder.hash
