"""How the columns of experts come beside those of the concepts."""

import numpy as np

from concept_icd.experts.expert import with_experts
from concept_icd.experts.terms import TermExpert
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology


def test_a_column_has_the_words_of_its_own_code_where_one_label_is_above_another():
    """The concept of label 428 covers 428.0 too, and is not what 428.0 is called."""
    concepts = ConceptSet.expand(["428", "428.0"], load_ontology())
    expert = TermExpert(concepts.codes, {}, (), np.zeros(5), np.zeros(2))
    *asked, wide, narrow = with_experts(concepts, [expert]).concepts
    assert tuple(asked) == concepts.concepts
    assert [wide.key, narrow.key] == ["terms:428", "terms:428.0"]
    texts = {concept.key: concept.text for concept in concepts.concepts}
    assert [wide.text, narrow.text] == [texts["code:428"], texts["code:428.0"]]
    assert wide.text != narrow.text
