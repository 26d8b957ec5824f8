"""A trained network on new stays: the right codes in the right order, from Python and from the command."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from concept_icd.cli.main import main
from concept_icd.errors import InputError
from concept_icd.medications.folder import load_stays
from concept_icd.medications.model import MedicationModel
from concept_icd.medications.predictions import node_columns, top_columns, write_codes
from concept_icd.medications.strategy import Strategy
from concept_icd.medications.study.run import monte_carlo_folds
from concept_icd.medications.synthetic import synthetic_stays
from concept_icd.medications.training import train
from tests.corpora.mimic3.hand_made import write_tables
from tests.medications.omop import omop_tables, write_omop


@pytest.fixture(scope="module")
def trained():
    made = synthetic_stays(120, seed=4)
    fold = monte_carlo_folds(made.stays.patient_ids, 0, 1, held_out=20)[0]
    model, _ = train(made.stays, made.targets, fold.train, fold.dev, Strategy(units=16, epochs=1))
    return made, model


def test_top_columns_by_hand():
    logits = np.array([[0.1, 0.9, 0.5, 0.9], [3.0, 1.0, 2.0, 0.0]], dtype=np.float32)
    assert top_columns(logits, 3).tolist() == [[1, 3, 2], [0, 2, 1]]
    assert top_columns(logits, 9).tolist() == [[1, 3, 2, 0], [0, 2, 1, 3]]


def test_every_batch_gives_the_rows_of_its_stays(trained, tmp_path):
    made, model = trained
    found = write_codes(model, made.stays, tmp_path / "codes.parquet", top=5, batch=50)
    table = pq.read_table(tmp_path / "codes.parquet").to_pydict()
    assert found == []
    logits = model.logits(made.stays.inputs)
    billed = node_columns(model, "billing")
    assert [model.nodes[column] for column in billed] == [
        node for node, own in zip(made.targets.nodes, made.targets.billed, strict=True) if own
    ]
    best = billed[np.argsort(-logits[:, billed], axis=1, kind="stable")[:, :5]]
    assert table["stay_id"] == [stay for stay in made.stays.stay_ids for _ in range(5)]
    assert table["rank"] == list(range(1, 6)) * 120
    assert table["code"] == [model.nodes[column] for column in best.ravel()]
    assert table["level"] == [model.levels[column] for column in best.ravel()]
    np.testing.assert_allclose(table["logit"], np.take_along_axis(logits, best, axis=1).ravel(), atol=1e-5)
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(-np.array(table["logit"]))), rtol=1e-5)
    assert not any(table["accepted"])  # a network without thresholds


def test_levels_and_thresholds(trained, tmp_path):
    made, model = trained
    model.thresholds["chapter"] = 0.5  # type: ignore[index]
    write_codes(model, made.stays, tmp_path / "codes.parquet", top=100, nodes="chapter")
    table = pq.read_table(tmp_path / "codes.parquet")
    chapters = model.levels.count("chapter")
    assert table.num_rows == 120 * chapters
    accepted = np.array(table["accepted"]) == (np.array(table["probability"]) >= 0.5)
    assert accepted.all()
    model.thresholds.clear()  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"no nodes 'chapters'; it has billing, all, chapter"):
        write_codes(model, made.stays, tmp_path / "no.parquet", nodes="chapters")
    assert not (tmp_path / "no.parquet").exists()


def test_stays_of_other_drugs_are_refused_or_counted(trained, tmp_path):
    made, model = trained
    stays = type(made.stays)(**{**vars(made.stays), "input_names": tuple(f"{n}!" for n in made.stays.input_names)})
    with pytest.raises(InputError, match="none of the 1,164 drugs"):
        write_codes(model, stays, tmp_path / "codes.parquet")
    names = ("drug:unheard of", *made.stays.input_names[1:])
    stays = type(made.stays)(**{**vars(made.stays), "input_names": names})
    assert write_codes(model, stays, tmp_path / "codes.parquet") == ["drug:unheard of"]


@pytest.mark.slow
def test_from_tables_without_bills_to_codes(tmp_path, capsys):
    """A network of six stays by hand reads the same stays, whose bills it is not shown, from both kinds of tables."""
    pytest.importorskip("duckdb")
    mimic = write_tables(tmp_path / "mimic")
    omop = write_omop(tmp_path / "omop", omop_tables(mimic))
    learnt, model = tmp_path / "learnt", tmp_path / "study" / "multitask" / "fold-0"
    prepare = ["prepare", "medications"]
    assert main([*prepare, "--mimic-dir", str(mimic), "--out", str(learnt)]) == 0
    small = ["--split-by", "folds", "--strategies", "multitask", "--units", "8", "--epochs", "1", "--draws", "9"]
    assert main(["medications", "study", "--stays", str(learnt), "--out", str(tmp_path / "study"), *small]) == 0
    (mimic / "DIAGNOSES_ICD.csv").unlink()
    (omop / "condition_occurrence.csv").unlink()
    written = []
    for option, folder in (("--mimic-dir", mimic), ("--omop-dir", omop)):
        stays, out = tmp_path / f"new{option}", tmp_path / f"codes{option}.parquet"
        assert main([*prepare, option, str(folder), "--out", str(stays)]) == 2
        assert "lacks" in capsys.readouterr().err
        assert main([*prepare, option, str(folder), "--out", str(stays), "--without-codes"]) == 0
        said = capsys.readouterr().out
        assert "6 stays of 3 patients, 2 ingredients, no codes" in said
        assert "nodes of level" not in said
        command = ["medications", "code", "--model", str(model), "--stays", str(stays), "--out", str(out), "--top", "3"]
        assert main(command) == 0
        assert "6 stays" in capsys.readouterr().out
        written.append(pq.read_table(out).drop(["stay_id"]).to_pydict())
    assert written[0] == written[1]
    assert len(written[0]["code"]) == 18
    assert load_stays(stays).targets.gold.shape == (6, 0)
    assert main(["medications", "study", "--stays", str(stays), "--out", str(tmp_path / "no"), *small]) == 2
    assert "prepared without codes" in capsys.readouterr().err
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert main([*command, "--overwrite", "--top", "0"]) == 2
    settings = json.loads((model / "medications.json").read_text())
    del settings["billed"]
    (model / "medications.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="holds no medication network"):
        MedicationModel.load(model)
