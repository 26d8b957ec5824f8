import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.metrics import ndcg_score

from concept_icd.metrics import gain_curve, metric_intervals, note_order, order_metrics
from concept_icd.metrics.intervals import draw_weights, drawn_means, intervals_of

# Four diagnoses, then two procedures. Billed: column 2 first, then 0, then 3; procedure 5.
DIAGNOSES = np.array([True, True, True, True, False, False])
PLACES = np.array([[2, 0, 1, 3, 0, 1]])
# Read: 0, 1, 2, 3 among diagnoses (ranks 1, 3, 4 of the gold ones: relevance 2, 3, 1); 4, 5 among procedures.
SCORES = np.array([[0.9, 0.5, 0.4, 0.1, 0.8, 0.7]])


def test_one_note_by_hand():
    found = order_metrics(PLACES, SCORES, DIAGNOSES, ks=(1, 3, 5))
    gains = [found[f"cumulative_gain_at_{k}_diagnoses"] for k in (1, 3, 5)]
    assert gains == [2, 2 + 3, 2 + 3 + 1]
    dcg = 2 / np.log2(2) + 3 / np.log2(4) + 1 / np.log2(5)
    ideal = 3 / np.log2(2) + 2 / np.log2(3) + 1 / np.log2(4)
    assert found["graded_dcg_at_1_diagnoses"] == 2
    assert found["graded_ndcg_at_1_diagnoses"] == pytest.approx(2 / 3)
    assert found["graded_dcg_at_3_diagnoses"] == 2 + 3 / 2
    assert found["graded_ndcg_diagnoses"] == found["graded_ndcg_at_5_diagnoses"] == pytest.approx(dcg / ideal)
    assert found["kendall_tau_diagnoses"] == pytest.approx((2 - 1) / 3)  # 2 and 3, 0 and 3 in order; 2 and 0 turned
    assert found["cumulative_gain_at_1_procedures"] == 0
    assert found["graded_ndcg_procedures"] == pytest.approx(1 / np.log2(3))
    assert np.isnan(found["kendall_tau_procedures"])  # one code has no order


def test_the_principal_diagnosis_by_hand():
    found = order_metrics(PLACES, SCORES, DIAGNOSES, ks=(1, 3))
    assert (found["primary_notes"], found["primary_accuracy"]) == (1, 0.0)
    assert found["primary_mrr"] == pytest.approx(1 / 3)  # the procedures read earlier do not count
    assert (found["primary_hit_at_1"], found["primary_hit_at_3"]) == (0.0, 1.0)
    assert order_metrics(PLACES, SCORES, DIAGNOSES, principal=[0])["primary_accuracy"] == 1.0


def test_a_principal_diagnosis_outside_the_set_is_not_in_the_denominator():
    both = np.vstack([PLACES, PLACES]), np.vstack([SCORES, -SCORES])
    found = order_metrics(*both, DIAGNOSES, principal=[-1, 0])
    assert (found["primary_notes"], found["primary_accuracy"]) == (1, 0.0)
    assert found["primary_mrr"] == 1 / 4
    none = order_metrics(*both, DIAGNOSES, principal=[-1, -1])
    assert none["primary_notes"] == 0
    assert np.isnan(none["primary_accuracy"])
    assert none["graded_ndcg_diagnoses"] == found["graded_ndcg_diagnoses"]  # the others still have their order


def test_notes_without_codes_with_one_and_with_procedures_alone():
    places = np.array([[0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 2, 1]])
    values = note_order(places, np.vstack([SCORES] * 3), DIAGNOSES)
    assert np.isnan(values["graded_ndcg_diagnoses"]).tolist() == [True, False, True]
    assert np.isnan(values["primary_accuracy"]).tolist() == [True, False, True]
    assert np.isnan(values["kendall_tau_diagnoses"]).tolist() == [True, True, True]
    assert values["kendall_tau_procedures"][2] == -1.0
    assert values["cumulative_gain_at_1_diagnoses"][1] == 0.0
    found = order_metrics(places[:1], SCORES, DIAGNOSES)
    assert found.pop("primary_notes") == 0
    assert all(np.isnan(value) for value in found.values())


def test_gaps_in_the_sequence_vanish():
    gaps = PLACES * [[3, 1, 3, 3, 1, 7]]  # 6, 3, 9 and 7
    assert order_metrics(gaps, SCORES, DIAGNOSES) == pytest.approx(
        order_metrics(PLACES, SCORES, DIAGNOSES), nan_ok=True
    )


def test_ties_are_read_by_column_and_give_no_credit_for_their_order():
    level = np.zeros((1, 6))
    found = order_metrics(PLACES, level, DIAGNOSES, ks=[1])
    assert found["primary_mrr"] == 1 / 3  # column 2
    assert found["cumulative_gain_at_1_diagnoses"] == 2  # column 0
    assert found["kendall_tau_diagnoses"] == 0.0
    half = order_metrics(PLACES, [[0.5, 0.0, 0.5, 0.1, 0.0, 0.0]], DIAGNOSES)
    assert half["kendall_tau_diagnoses"] == pytest.approx(2 / 3)


def test_codes_that_a_system_did_not_rank_come_last():
    # Only column 3 is listed: the others follow by column, so column 2 is the fourth.
    listed = np.full((1, 6), -np.inf)
    listed[0, 3] = -1.0
    found = order_metrics(PLACES, listed, DIAGNOSES, ks=[1, 4])
    assert found["primary_mrr"] == 1 / 4
    assert found["cumulative_gain_at_1_diagnoses"] == 1
    assert found["kendall_tau_diagnoses"] == pytest.approx(-2 / 3)


def test_the_gain_curve_is_the_gain_at_every_k_and_ends_at_everything():
    curve = gain_curve(PLACES, SCORES, DIAGNOSES, "diagnoses", range(1, 7))
    assert curve.tolist() == [2, 2, 5, 6, 6, 6]
    best = gain_curve(PLACES, np.where(PLACES > 0, -PLACES, -np.inf), DIAGNOSES, "diagnoses", range(1, 7))
    assert best.tolist() == [3, 5, 6, 6, 6, 6]
    assert gain_curve(PLACES, SCORES, DIAGNOSES, "procedures", (1, 2)).tolist() == [0, 1]
    assert np.isnan(gain_curve(0 * PLACES, SCORES, DIAGNOSES, "procedures", (1,))).all()


@st.composite
def billed(draw):
    """Places with notes of any number of codes, distinct scores, and which codes are diagnoses."""
    notes, codes = draw(st.integers(1, 10)), draw(st.integers(2, 9))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    diagnoses = random.random(codes) < 0.6
    places = np.zeros((notes, codes), dtype=np.int64)
    for row in places:
        for kind in (diagnoses, ~diagnoses):
            gold = np.flatnonzero(kind & (random.random(codes) < 0.5))
            row[gold] = random.permutation(gold.size) + 1
    return places, random.permutation(notes * codes).reshape(notes, codes).astype(float), diagnoses


@given(billed())
def test_equals_scikit_learn_and_scipy_where_nothing_ties(case):
    places, scores, diagnoses = case
    found = note_order(places, scores, diagnoses, ks=[3])
    for kind, chosen in (("diagnoses", diagnoses), ("procedures", ~diagnoses)):
        for row, (place, score) in enumerate(zip(places[:, chosen], scores[:, chosen], strict=True)):
            gold = place > 0
            if gold.any() and place.size > 1:  # scikit-learn asks for two codes
                relevance = np.where(gold, gold.sum() - place + 1, 0)[None]
                expected = ndcg_score(relevance, score[None])
                assert found[f"graded_ndcg_{kind}"][row] == pytest.approx(expected)
                assert found[f"graded_ndcg_at_3_{kind}"][row] == pytest.approx(ndcg_score(relevance, score[None], k=3))
            if gold.sum() > 1:
                expected = kendalltau(place[gold], -score[gold]).statistic
                assert found[f"kendall_tau_{kind}"][row] == pytest.approx(expected)
            else:
                assert np.isnan(found[f"kendall_tau_{kind}"][row])


@given(billed())
def test_the_billing_order_itself_is_perfect(case):
    places, _, diagnoses = case
    found = note_order(places, np.where(places > 0, -places, -np.inf), diagnoses, ks=[2])
    for name in ("primary_accuracy", "graded_ndcg_diagnoses", "graded_ndcg_at_2_procedures", "kendall_tau_diagnoses"):
        defined = found[name][~np.isnan(found[name])]
        assert (defined == 1).all(), name


def test_per_note_values_have_the_intervals_of_the_figures():
    random = np.random.default_rng(2)
    gold = random.random((40, 6)) < 0.4
    places = np.where(gold, np.arange(6) + 1, 0)
    scores, patients = random.random((40, 6)), [n // 2 for n in range(40)]
    names = ("primary_accuracy", "graded_ndcg_procedures", "kendall_tau_diagnoses")

    def slow(truth, values):
        found = order_metrics(np.where(truth, np.arange(6) + 1, 0), values, DIAGNOSES)
        return {name: found[name] for name in names}

    expected = metric_intervals(slow, gold, scores, patients, draws=60, seed=4)
    values = note_order(places, scores, DIAGNOSES)
    found = intervals_of(drawn_means(values, draw_weights(patients, 40, 60, 4)))
    for name in names:
        assert found[name] == pytest.approx(expected[name]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gold_places": PLACES - 1}, "places"),
        ({"gold_places": PLACES * 0.5}, "places"),
        ({"gold_places": np.array([[1, 1, 0, 0, 0, 0]])}, "note 0 has two codes of one kind at place 1"),
        ({"scores": SCORES[:, :5]}, "shape"),
        ({"scores": SCORES * np.nan}, "NaN"),
        ({"diagnoses": DIAGNOSES[:5]}, "one per code"),
        ({"principal": [5]}, "column of a procedure"),
        ({"principal": [6]}, "columns of the 6 codes"),
        ({"principal": [0, 0]}, "one column per note"),
        ({"ks": [0]}, "k starts at 1"),
    ],
)
def test_what_does_not_fit_is_told(change, message):
    arguments = {"gold_places": PLACES, "scores": SCORES, "diagnoses": DIAGNOSES} | change
    with pytest.raises(ValueError, match=message):
        order_metrics(**arguments)
