"""Names as prescribed against the ingredients that a pharmacist would name."""

import csv
import gzip
from collections import defaultdict

import pytest

from concept_icd.medications.drug_names import doubtful_names, ingredients_of, name_rules

CASES = {
    # One ingredient in many spellings
    "Metoprolol Tartrate": "metoprolol",
    "Metoprolol Succinate XL": "metoprolol",
    "MetRONIDAZOLE (FLagyl)": "metronidazole",
    "Flagyl": "metronidazole",
    "NEO*IV*Gentamicin": "gentamicin",
    "*NF* Ertapenem Sodium": "ertapenem",
    "Heparin Flush CVL  (100 units/ml)": "heparin",
    "Heparin Sodium": "heparin",
    "Morphine SR (MS Contin)": "morphine",
    "Albumin 25% (12.5g / 50mL)": "albumin",
    "Docusate Sodium (Liquid)": "docusate",
    "Penicillin G Potassium": "penicillin g",
    "Clonidine Patch 0.1 mg/24 hr": "clonidine",
    "Creon 10": "pancrelipase",
    "Vitamin B12 1000mcg": "vitamin b12",
    # A mineral's salt is its ingredient
    "Potassium Chloride (Powder)": "potassium chloride",
    "Potassium Chloride Replacement (Oncology)": "potassium chloride",
    "Potassium Phosphate": "potassium phosphate",
    "Calcium Gluconate": "calcium gluconate",
    "Sodium Polystyrene Sulfonate": "sodium polystyrene sulfonate",
    "Zinc Sulfate": "zinc sulfate",
    "Calcium": "calcium",
    # Combinations, and fluids
    "Potassium Chl 20 mEq / 1000 mL D5 1/2 NS": "dextrose, potassium chloride, sodium chloride",
    "Amino Acids 4.25% W/ Dextrose 5%": "amino acids, dextrose",
    "Piperacillin-Tazobactam Na": "piperacillin, tazobactam",
    "Fluticasone-Salmeterol Diskus (250/50) ": "fluticasone, salmeterol",
    "Aluminum-Magnesium Hydrox.-Simethicone": "aluminum hydroxide, magnesium hydroxide, simethicone",
    "Propoxyphene Nap.-Apap (N-100)": "acetaminophen, propoxyphene",
    "Lidocaine 1%/Epinephrine 1:100000": "epinephrine, lidocaine",
    "Percocet": "acetaminophen, oxycodone",
    "Syringe (0.9% Sodium Chloride)": "sodium chloride",
    "NS (Glass Bottle)": "sodium chloride",
    "D5W": "dextrose",
    # A hyphen that joins no two drugs
    "HYDROmorphone-HP": "hydromorphone",
    "Pentamidine-Inhalation": "pentamidine",
    # No drug
    "Syringe (Chemo)": "",
    "Vial": "",
    "5%": "",
    " ": "",
    # Unknown: its own ingredient
    "Propra": "propra",
    "Zorblamine 5mg Tab": "zorblamine",
}


@pytest.mark.parametrize("name", CASES)
def test_ingredients(name):
    assert ", ".join(ingredients_of(name)) == CASES[name]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Metoprolol\u00a0Tartrate", "Metoprolol Tartrate"),
        ("\ufeffMeto\u00adprolol\tTar\u200btrate", "Metoprolol Tartrate"),
        ("\uff2d\uff45\uff54\uff4f\uff50\uff52\uff4f\uff4c\uff4f\uff4c", "Metoprolol"),
        ("Metoprolol 25\u00a0mg", "Metoprolol 25 mg"),
        ("Piperacillin\u2011Tazobactam\u2009Na", "Piperacillin-Tazobactam Na"),
        ("Fluticasone\u2013Salmeterol", "Fluticasone-Salmeterol"),
        ("Parace\u0301tamol", "paracetamol"),
        ("M\u00c9TRONIDAZOLE", "Metronidazole"),
        ("Potassium Chl 20 mEq \u2044 1000 mL D5 1\u20442 NS", "Potassium Chl 20 mEq / 1000 mL D5 1/2 NS"),
        ("Levothyroxine 50 \u00b5g", "Levothyroxine 50 \u03bcg"),
        ("50 \u00b5g Levothyroxine", "50 mcg Levothyroxine"),
        ("Fentanyl 5 \u03bcg/mL", "Fentanyl 5 mcg/mL"),
        ("D5 \u00bd NS", "D5 1/2 NS"),
        ("D5\u00bdNS", "D5 1/2NS"),
        ("Lasix\u00ae, Tylenol\u2122", "Lasix, Tylenol"),
    ],
)
def test_typography_names_no_other_drug(name, plain):
    assert ingredients_of(name) == ingredients_of(plain) != ()


def test_a_word_inside_another_is_no_phrase():
    assert ingredients_of("Insulin") == ("insulin",)  # "ns"
    assert ingredients_of("Alrex") == ("alrex",)  # "lr"


def test_what_rules_name_is_named_the_same_when_read_again():
    """An ingredient that a phrase or a brand stands for is not torn apart when it is itself prescribed."""
    meant = {ingredient for ingredients in name_rules().known.values() for ingredient in ingredients}
    again = {ingredient: ingredients_of(ingredient) for ingredient in sorted(meant)}
    assert {name: read for name, read in again.items() if read != (name,)} == {}


def test_doubtful_names_are_told():
    assert set(doubtful_names(["Insulin", "INSULIN", "Warfarin"])) == {"INSULIN", "Insulin"}


def test_the_names_of_the_demo(shared_data):
    with gzip.open(shared_data / "mimic3_demo" / "PRESCRIPTIONS.csv.gz", "rt", newline="") as file:
        names = sorted({row["drug"] for row in csv.DictReader(file)})
    groups = defaultdict(list)
    for name in names:
        for ingredient in ingredients_of(name):
            groups[ingredient].append(name)
    assert (len(names), len(groups)) == (592, 357)
    assert [name for name in names if not ingredients_of(name)] == [
        "AMP", "Bag", "Epidural Bag", "Soln", "Soln.", "Solution", "Sterile Diluent for Flolan", "Syringe",
        "Syringe (Chemo)", "Syringe (IV Room)", "Vial",
    ]  # fmt: skip
    assert len(groups["heparin"]) == 12
    assert len(groups["albumin"]) == 10
    assert groups["metoprolol"] == ["Metoprolol", "Metoprolol Succinate XL", "Metoprolol Tartrate", "Metoprolol XL"]
    assert len(doubtful_names(names)) == 14
    # Nothing of form, route or strength is left in any ingredient.
    words = {word for ingredient in groups for word in ingredient.split()} - {"human", "sterile"}
    assert not words & {"iv", "oral", "tab", "tablet", "flush", "hcl", "xl", "nasal", "solution", "suspension", "patch"}
    assert sorted(name for name in groups if any(c.isdigit() for c in name)) == ["vitamin b12", "vitamin b6"]
