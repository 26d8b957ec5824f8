"""What the drugs of a stay say of its codes: the medication network, as an expert (Marcou et al. 2024).

It reads `Note.drugs`, sex and age. It has no column for procedures, nor for diagnoses that no training note has, and no
answer for a note without drugs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from concept_icd.artifacts import hash_of
from concept_icd.errors import InputError
from concept_icd.medications.drug_names import ingredients_of
from concept_icd.medications.model import MedicationModel
from concept_icd.medications.stays import Admission, Drugs, aligned_inputs, make_stays
from concept_icd.medications.strategy import Stays, Strategy
from concept_icd.medications.targets import indicator, roll_up
from concept_icd.medications.training import fit, out_of_fold_logits
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote, Level, Note, OneLine


@dataclass(frozen=True, eq=False, repr=False)
class DrugExpert(OneLine):
    """A trained network over the codes of a coder.

    Attributes:
        nodes: for each of `codes` the node of the network that it means.
    """

    codes: tuple[str, ...]
    nodes: tuple[str, ...]
    model: MedicationModel
    level: Level = "drugs"

    def log_odds(self, notes: Sequence[Note]) -> np.ndarray:
        """See `Expert`."""
        stays = stays_of(notes)
        inputs, _ = aligned_inputs(stays, self.model.input_names)
        column = {node: number for number, node in enumerate(self.model.nodes)}
        found = self.model.logits(inputs)[:, [column[node] for node in self.nodes]]
        there = np.array([bool(note.drugs) for note in notes], dtype=bool)
        return np.where(there[:, None], found, np.float32(np.nan))

    @cached_property
    def hash(self) -> str:
        """See `Expert`."""
        model, digest = self.model, hashlib.sha256()
        for part in model.parts:
            for tensor in part.network.state_dict().values():
                digest.update(tensor.numpy().tobytes())
        return hash_of(
            [self.codes, self.nodes, model.input_names, model.nodes, asdict(model.strategy), digest.hexdigest()]
        )

    def save(self, folder: Path) -> None:
        """See `Expert`."""
        self.model.save(folder)

    @classmethod
    def load(cls, folder: Path, concepts: ConceptSet) -> DrugExpert:
        """Reads what `save` wrote; the codes are those of the concepts of this level.

        Raises:
            InputError: a file is missing or damaged.
        """
        codes = tuple(concept.codes[0] for concept in concepts.concepts if concept.level == "drugs")
        return cls(codes, tuple(map(concepts.meaning, codes)), MedicationModel.load(folder))


#: Ours: training begins at the frequencies, every training note trains, and the dev notes say when to stop.
NETWORK = Strategy(bias="log_odds", stop_share=0.0, patience=5, epochs=50)


@dataclass(frozen=True)
class DrugRecipe:
    """How the network is trained: see `Strategy`."""

    strategy: Strategy = NETWORK

    def fit(
        self, notes: Sequence[CodedNote], gold: np.ndarray, concepts: ConceptSet, fold: np.ndarray, seed: int
    ) -> tuple[DrugExpert, np.ndarray]:
        """See `ExpertRecipe`: only notes with drugs train it.

        Raises:
            InputError: fewer than two folds have notes with drugs, or none of those has a diagnosis of the tree.
        """
        with_drugs = np.flatnonzero([bool(coded.note.drugs) for coded in notes])
        if len(np.unique(fold[with_drugs])) < 2:
            raise InputError(
                "the expert of drugs needs notes with `drugs` of at least two patients; these have too few"
            )
        chosen = [notes[row] for row in with_drugs.tolist()]
        stays = stays_of([coded.note for coded in chosen])
        billed = {coded.note.note_id: [concepts.meaning(code) for code in coded.diagnoses] for coded in chosen}
        targets, _ = roll_up(stays.stay_ids, billed, load_ontology())
        codes = tuple(code for code in concepts.codes if concepts.meaning(code) in set(targets.nodes))
        nodes = tuple(map(concepts.meaning, codes))
        held_out = np.full((len(notes), len(codes)), np.nan, dtype=np.float32)
        held_out[with_drugs] = out_of_fold_logits(
            stays, targets, fold[with_drugs], self.strategy, nodes=nodes, seed=seed
        )
        model = fit(stays, targets, np.arange(len(chosen)), self.strategy, seed=seed)
        return DrugExpert(codes, nodes, model), held_out


def stays_of(notes: Sequence[Note]) -> Stays:
    """The inputs of notes, a row each, with the ingredients that occur among them."""
    of_note = [sorted({found for name in note.drugs for found in ingredients_of(name)}) for note in notes]
    names = tuple(sorted({name for own in of_note for name in own}))
    column = {name: place for place, name in enumerate(names)}
    matrix = indicator([[column[name] for name in own] for own in of_note], len(names))
    people = [Admission(note.note_id, note.patient_id or f"note {note.note_id}", note.age, note.sex) for note in notes]
    return make_stays(people, Drugs(matrix, names, {}, {}))
