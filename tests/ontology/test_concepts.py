"""A code set becomes concepts at several levels; a note's codes become weak labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concept_icd.errors import InputError
from concept_icd.ontology.concepts import ConceptSet, node_text
from concept_icd.ontology.tree import load_ontology

ontology = load_ontology()


def keys(concepts: ConceptSet) -> list[str]:
    return [concept.key for concept in concepts.concepts]


def test_every_ancestor_is_one_concept_however_many_codes_lie_below():
    concepts = ConceptSet.expand(["428.0", "428.21", "38.93"], ontology)
    assert keys(concepts) == [
        "chapter:390-459",
        "chapter:35-39",
        "section:420-429",
        "category:428",
        "category:38",
        "subcategory:428.2",
        "subcategory:38.9",
        "code:428.0",
        "code:428.21",
        "code:38.93",
    ]
    assert concepts.codes == ("428.0", "428.21", "38.93")
    assert concepts.concepts[3].codes == ("428.0", "428.21")
    assert concepts.concepts[3].text == "Heart failure"


def test_the_cover_matrix_and_the_path_of_a_code():
    concepts = ConceptSet.expand(["428.0", "428.21"], ontology)
    assert concepts.cover.dtype == bool
    assert concepts.cover.toarray().tolist() == [
        [True, True],
        [True, True],
        [True, True],
        [False, True],
        [True, False],
        [False, True],
    ]
    assert [concepts.concepts[row].level for row in concepts.on_path("428.21")] == [
        "chapter",
        "section",
        "category",
        "subcategory",
        "code",
    ]
    assert concepts.index("category:428") == 2


def test_only_the_levels_asked_for_and_always_the_labels():
    assert keys(ConceptSet.expand(["428.21"], ontology, levels=())) == ["code:428.21"]
    assert keys(ConceptSet.expand(["428.21"], ontology, levels=("category",))) == ["category:428", "code:428.21"]


def test_a_label_above_another_label_is_a_code_once_and_covers_both():
    concepts = ConceptSet.expand(["428", "428.0"], ontology)
    assert keys(concepts) == ["chapter:390-459", "section:420-429", "code:428", "code:428.0"]
    assert concepts.concepts[concepts.index("code:428")].codes == ("428", "428.0")
    assert concepts.weak_labels(["428.0"]).tolist() == [1, 1, 1, 1]
    assert concepts.weak_labels(["428"]).tolist() == [1, 1, 1, 0]


def test_weak_labels_are_true_where_a_gold_code_is_covered():
    concepts = ConceptSet.expand(["428.0", "486"], ontology)
    labels = concepts.weak_labels(["486", "not in the set"])
    assert labels.dtype == np.float32
    assert {key for key, label in zip(keys(concepts), labels, strict=True) if label} == {
        "chapter:460-519",
        "section:480-488",
        "code:486",
    }
    assert concepts.weak_labels([]).sum() == 0


@settings(max_examples=25)
@given(st.lists(st.sampled_from(ontology.codes()), min_size=1, max_size=12, unique=True), st.data())
def test_weak_labels_equal_the_product_with_the_cover(codes, data):
    concepts = ConceptSet.expand(codes, ontology)
    gold = data.draw(st.lists(st.sampled_from(codes), unique=True))
    product = concepts.cover @ np.array([code in gold for code in codes], dtype=int) > 0
    assert concepts.weak_labels(gold).tolist() == product.astype(float).tolist()
    cover = concepts.cover.toarray()
    for column, code in enumerate(codes):
        assert set(concepts.on_path(code)) == set(np.flatnonzero(cover[:, column]))


def test_a_phrase_of_two_codes_is_one_concept_and_of_an_inner_node_covers_all_below():
    phrases = {
        "428.0": ["Chest X-rays"],
        "486": ["chest x ray", "Lung infiltrate"],
        "428": ["weak heart"],
        "250": ["thirst"],
    }
    concepts = ConceptSet.expand(["428.0", "428.1", "486"], ontology, levels=(), phrases=phrases)
    found = {concept.text: concept.codes for concept in concepts.concepts if concept.level == "phrase"}
    assert found == {
        "Chest X-rays": ("428.0", "486"),
        "Lung infiltrate": ("486",),
        "weak heart": ("428.0", "428.1"),
    }


def test_the_same_question_is_not_asked_twice():
    # "Other operations on nose" is the title of 21.9 and of 21.99, its only label here; "cough" that of 786.2.
    concepts = ConceptSet.expand(["21.99", "786.2"], ontology, phrases={"786.2": ["cough"]})
    assert "subcategory:21.9" not in keys(concepts)
    assert "phrase:cough" not in keys(concepts)
    # With another label below 21.9, the two cover different labels, and both stay.
    assert "subcategory:21.9" in keys(ConceptSet.expand(["21.99", "21.91"], ontology))


def test_aliases_give_spoilt_labels_their_meaning():
    assert (
        ConceptSet.expand(["40.7"], ontology).concepts[-1].text == "Operations on lymphatic system"
    )  # nearest ancestor
    concepts = ConceptSet.expand(["40.7"], ontology, aliases={"40.7": "04.07"})
    assert concepts.codes == ("40.7",)
    assert "chapter:01-05" in keys(concepts)
    assert concepts.concepts[-1].key == "code:40.7"
    assert concepts.concepts[-1].text == ontology.title("04.07")
    assert concepts.weak_labels(["40.7"]).all()


def test_labels_that_are_no_codes_are_known_by_what_they_mean():
    """Procedures 00.66 and 00.01 as numbers print them; and a code that was retired, spelled as another label."""
    concepts = ConceptSet.expand(
        ["66.", "1.", "3.61"], ontology, aliases={"66.": "00.66", "1.": "00.01", "3.61": "36.01"}
    )
    assert keys(concepts)[-3:] == ["code:66.", "code:1.", "code:3.61"]
    assert concepts.concepts[concepts.index("code:66.")].text == node_text(ontology, "00.66")
    assert concepts.concepts[concepts.index("code:3.61")].text == ontology.title("36.0")  # 36.01 is retired
    assert concepts.concepts[concepts.on_path("3.61")[0]].key == "chapter:35-39"
    assert concepts.meaning("3.61") == "36.01"


def test_aliases_are_kept_and_hashed(tmp_path):
    aliases = {"40.7": "04.07", "486": "486", "99.9": "99.99"}
    concepts = ConceptSet.expand(["40.7", "486"], ontology, aliases=aliases)
    assert concepts.aliases == {"40.7": "04.07"}  # only those of the set that say something
    assert (concepts.meaning("40.7"), concepts.meaning("486")) == ("04.07", "486")
    concepts.save(tmp_path / "c.json")
    assert ConceptSet.load(tmp_path / "c.json") == concepts
    text = (tmp_path / "c.json").read_text()
    (tmp_path / "c.json").write_text(text.replace('"40.7": "04.07"', '"40.7": "04.06"'))
    with pytest.raises(InputError, match="was changed after it was written"):
        ConceptSet.load(tmp_path / "c.json")


def test_retired_labels_keep_their_string_and_take_the_nearest_title():
    concepts = ConceptSet.expand(["36.01"], ontology)
    assert concepts.codes == ("36.01",)
    assert keys(concepts) == ["chapter:35-39", "category:36", "code:36.01"]  # 36.0 would be the same question
    assert concepts.concepts[-1].text == ontology.title("36.0")


def test_namesakes_are_told_apart_by_their_parent():
    assert node_text(ontology, "438.4") == "Late effects of cerebrovascular disease: monoplegia of lower limb"
    assert node_text(ontology, "344.3") == "Other paralytic syndromes: monoplegia of lower limb"
    assert node_text(ontology, "21.9") == node_text(ontology, "21.99")  # on one path: no namesakes
    assert node_text(ontology, "428.0") == "Congestive heart failure, unspecified"


def test_the_hash_is_stable_and_knows_codes_texts_and_levels(tmp_path):
    concepts = ConceptSet.expand(["428.0", "486"], ontology)
    assert concepts.hash == ConceptSet.expand(["428.0", "486"], ontology).hash
    # Written down, so that a change of texts, levels or the way of hashing is noticed: stored score matrices name it.
    assert concepts.hash.startswith("af107839d64c")
    others = [
        ConceptSet.expand(["486", "428.0"], ontology),
        ConceptSet.expand(["428.0"], ontology),
        ConceptSet.expand(["428.0", "486"], ontology, levels=("code",)),
        ConceptSet.expand(["428.0", "486"], ontology, phrases={"486": ["rales"]}),
        ConceptSet.expand(["428.0", "486"], ontology, phrases={"486": ["crackles"]}),
    ]
    assert len({concepts.hash, *(other.hash for other in others)}) == 6


def test_saved_and_loaded_it_is_the_same(tmp_path):
    concepts = ConceptSet.expand(["428.0", "486"], ontology, phrases={"486": ["fièvre"]})
    concepts.save(tmp_path / "concepts.json")
    loaded = ConceptSet.load(tmp_path / "concepts.json")
    assert loaded == concepts
    assert loaded.hash == concepts.hash


def test_labels_that_mean_one_code_share_its_question():
    concepts = ConceptSet.expand(["66.", "66.0", "428.0"], ontology, aliases={"66.": "00.66", "66.0": "00.66"})
    shared = concepts.concepts[concepts.index("code:66.")]
    assert shared.codes == ("66.", "66.0")
    assert shared.text == ontology.title("00.66")
    assert [concept.key for concept in concepts.concepts if concept.level == "code"] == ["code:66.", "code:428.0"]
    assert concepts.rows["66."] == concepts.rows["66.0"]
    assert concepts.meaning("66.0") == "00.66"


def test_a_changed_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "concepts.json"
    ConceptSet.expand(["428.0"], ontology).save(path)
    record = json.loads(path.read_text())
    record["concepts"][0]["text"] = "Something else"
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="was changed"):
        ConceptSet.load(path)
    for content in ("[]", "{}", '{"codes": 1, "concepts": [], "hash": ""}', '"text"'):
        path.write_text(content)
        with pytest.raises(InputError, match=r"concepts\.json"):
            ConceptSet.load(path)


@pytest.mark.parametrize(
    ("codes", "options", "says"),
    [
        ([], {}, "empty"),
        (["428.0", "428.0"], {}, "2 times"),
        (["4280"], {}, "no dotted"),
        (["V99.1"], {}, "no chapter"),
        (["428.0"], {"levels": ("chapters",)}, "did you mean 'chapter'"),
        (["40.7"], {"aliases": {"40.7": "4.07"}}, "alias of '40.7'"),
        (["66."], {}, "no dotted"),
        (["66."], {"aliases": {"66.": "V99.1"}}, "alias of '66.' names no code"),
    ],
)
def test_bad_code_sets_are_refused_in_one_sentence(codes, options, says):
    with pytest.raises(InputError, match=says):
        ConceptSet.expand(codes, ontology, **options)


def test_an_unknown_key_or_code_names_the_nearest():
    concepts = ConceptSet.expand(["428.0"], ontology)
    with pytest.raises(InputError, match="did you mean 'category:428'"):
        concepts.index("categry:428")
    with pytest.raises(InputError, match=r"did you mean '428\.0'"):
        concepts.on_path("428.1")


def test_the_whole_classification_expands():
    codes = ontology.codes()
    concepts = ConceptSet.expand(codes, ontology)
    # All nodes but those that would repeat the question of the one child that covers the same labels.
    assert len(codes) < len(concepts) <= len(ontology)
    assert all(concept.text and concept.codes for concept in concepts.concepts)
