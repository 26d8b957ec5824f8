"""Stays are read, prepared and looked at without torch: the network, its losses and its training alone need it."""

import subprocess
import sys

SCRIPT = """
import importlib, pkgutil, sys
import concept_icd.medications as room

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        print(module.name.rsplit(".", 1)[1], error.name)

from concept_icd.errors import MissingExtraError
from concept_icd.experts.kinds import recipe

print(type(recipe("words")).__name__, type(recipe("terms")).__name__)
try:
    recipe("drugs")
except MissingExtraError as error:
    print(error)
"""


def test_only_the_network_needs_torch():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    *modules, others, told = done.stdout.splitlines()
    assert modules == ["losses torch", "model torch", "training torch"]
    assert others == "WordRecipe TermRecipe"
    assert told.startswith("torch is not installed; run: pip install ")
    assert told.endswith("[llm]'")
