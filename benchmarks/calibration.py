"""Do a coder's probabilities mean what they say on held-out reports? And how far to read for a recall.

    python benchmarks/calibration.py --work RUNS --out benchmarks/results/calibration.json

RUNS is what `benchmarks/cmc2007.py` leaves; the folds of it that are complete are used. Four ways from the log-odds of
the concept scores to probabilities, each fitted on the out-of-fold log-odds of the fold's training reports and measured
on its held-out ones: `platt` (what the package does), `temperature`, `isotonic` (steps, scikit-learn's) and `none`.
Where the folds have systems.npz, every system as it is, too. Pairs of all reports and codes; a code that a fold does
not know has probability 0. Intervals are over reports; calibration errors have none, since they are biased upwards. The
picture is of the four ways, drawn like the one in every evaluation report. The reading depth is measured as by
`reading.py`; with all views where the folds have such a coder.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cmc2007 import STACKED
from common import arguments, finish, parser_of, tell
from growth import style
from reading import FITTED, measure, read_fold
from scipy.sparse import csr_array
from sklearn.isotonic import IsotonicRegression

from concept_icd import metrics
from concept_icd.corpora import load_corpus
from concept_icd.corpora.gold import gold_matrix
from concept_icd.heads.calibration import METHODS, fit_calibration
from concept_icd.heads.fitting import HeadOptions, folds_of, held_out_log_odds
from concept_icd.metrics.intervals import draw_weights, drawn_means, interval
from concept_icd.pipeline import fit_coder
from concept_icd.report.charts import HEIGHT, WIDTH, Chart, linear, wilson
from concept_icd.scoring.store import load_scores

BINS = 10
#: Calibration errors over ten bins: of equal width, and of equal count over the pairs above 1 %.
FIGURES = ("brier", "log_loss", "ece_equal_width", "ece_above_1_percent")
SHIPPED = "platt"


def read_ways(folder: Path) -> dict[str, np.ndarray]:
    """Gold and, by way, probabilities of the held-out reports of a fold, (reports, all codes of the corpus)."""
    corpus, scores = load_corpus(folder / "corpus"), load_scores(folder / "scores")
    train, test = corpus.split("train"), corpus.split("test")
    coder = fit_coder(folder / "scores", train, "train")
    wanted = {coded.note.note_id for coded in train}
    ids = [note_id for note_id in scores.note_ids if note_id in wanted]  # the order decides the heads' folds
    own, new = scores.select(ids).logits, scores.select([coded.note.note_id for coded in test]).logits
    gold, patients = gold_matrix(ids, train, coder.concepts.codes)
    fold = folds_of(patients, HeadOptions())
    levels = [concept.level for concept in coder.concepts.concepts]
    held_out, _, _ = held_out_log_odds(own, gold, csr_array(coder.concepts.cover), levels, fold, HeadOptions())
    log_odds = coder.heads.aggregator.log_odds(new)
    ways = {method: fit_calibration(held_out, gold, method).probabilities(log_odds) for method in METHODS}
    steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(held_out.ravel(), gold.ravel())
    ways["isotonic"] = steps.predict(log_odds.ravel()).reshape(log_odds.shape)

    codes = all_codes(folder)
    columns = [codes.index(code) for code in coder.concepts.codes]
    found = {"gold": test_gold(folder)}
    for way, p in ways.items():
        found[way] = np.zeros(found["gold"].shape)
        found[way][:, columns] = p
    return found


def all_codes(folder: Path) -> list[str]:
    """Of all coded reports; their order is that of systems.npz."""
    return sorted({code for coded in load_corpus(folder / "corpus").notes for code in coded.codes})


def test_gold(folder: Path) -> np.ndarray:
    test = load_corpus(folder / "corpus").split("test")
    return gold_matrix([coded.note.note_id for coded in test], test, all_codes(folder))[0].astype(bool)


def read_systems(folder: Path) -> dict[str, np.ndarray]:
    """Gold and, by system, probabilities as `benchmarks/cmc2007.py` left them."""
    found = np.load(folder / "systems.npz")
    names = [name.removesuffix(".probabilities") for name in found.files if name.endswith(".probabilities")]
    return {"gold": test_gold(folder)} | {name: found[f"{name}.probabilities"].astype(np.float64) for name in names}


def errors_of(gold: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
    """Brier score and log loss of each report, (reports,)."""
    clipped = p.clip(1e-6, 1 - 1e-6)
    log_loss = -np.where(gold, np.log(clipped), np.log1p(-clipped))
    return {"brier": np.square(p - gold).mean(axis=1), "log_loss": log_loss.mean(axis=1)}


def figures_of(gold: np.ndarray, p: np.ndarray) -> dict[str, float]:
    found = metrics.calibration_metrics(gold, p, BINS)
    found["log_loss"] = float(errors_of(gold, p)["log_loss"].mean())
    return {name: found[name] for name in FIGURES}


def compare(folds: list[dict[str, np.ndarray]], *, seed: int, draws: int, against: str | None = None) -> dict[str, Any]:
    """Figures by way with intervals, the bins, and with `against` the others' differences to it, the reports pooled."""
    pooled = {name: np.vstack([fold[name] for fold in folds]) for name in folds[0]}
    gold = pooled.pop("gold")
    weights = draw_weights(None, len(gold), draws, seed)
    drawn = {way: drawn_means(errors_of(gold, p), weights) for way, p in pooled.items()}
    found: dict[str, Any] = {}
    for way, p in pooled.items():
        own = figures_of(gold, p)
        found[way] = {
            "figures": {
                name: {"value": own[name]} | (interval(drawn[way][name], "count") if name in drawn[way] else {})
                for name in FIGURES
            },
            "expected_codes": float(p.sum(axis=1).mean()),
            "bins": {name: column.tolist() for name, column in
                     metrics.equal_width_bins(gold.ravel(), p.ravel(), BINS)._asdict().items()},
        }  # fmt: skip
        if against not in (None, way):
            other, base = figures_of(gold, pooled[against]), drawn[against]
            found[way][f"less_{against}"] = {
                name: {"difference": own[name] - other[name]}
                | (interval(drawn[way][name] - base[name]) if name in base else {})
                for name in FIGURES
            }
    return {"reports": len(gold), "pairs": int(gold.size), "gold_labels": int(gold.sum()), "ways": found}


def draw(ways: dict[str, Any]) -> str:
    """Share of gold codes against mean probability, one line a way; Wilson bars of the shipped one."""
    chart = Chart("Calibration", linear(1), linear(1), "mean probability in the bin", "share of gold codes")
    chart.line([(0, 0), (1, 1)], "faint", dashed=True)
    colours = {"none": "two", "temperature": "three", "isotonic": "four", SHIPPED: "one"}
    for way, colour in colours.items():
        bins = ways[way]["bins"]
        points = list(zip(bins["confidence"], bins["accuracy"], bins["pairs"], strict=True))
        chart.line([point[:2] for point in points], colour, dashed=way != SHIPPED)
        for confidence, accuracy, pairs in points:
            if way == SHIPPED:
                chart.bar(confidence, *wilson(accuracy, pairs), colour)
            text = f"{way}: probability {confidence:.3f}, gold {accuracy:.3f}, {pairs:,} pairs"
            chart.dot(confidence, accuracy, colour, text, 3.5 if way == SHIPPED else 2.5)
    keys = "".join(
        f'<line class="line {colour}" x1="70" x2="92" y1="{24 + 16 * row}" y2="{24 + 16 * row}"/>'
        f'<text x="98" y="{28 + 16 * row}">{way}</text>'
        for row, (way, colour) in enumerate(reversed(colours.items()))
    )
    inside = chart.render().partition(">")[2].partition("</svg>")[0]
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif"'
    paper = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="var(--paper)"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style()}</style>{paper}{inside}{keys}</svg>\n'


def measured_reading(folds: list[Any], seed: int) -> dict[str, Any]:
    """What `reading.py` says of the package's way."""
    found = measure(folds, seed)
    kept = ("notes", "notes_with_gold", "gold_labels", "gold_labels_outside", "by_depth", "recall_of_all_gold_at_90")
    return {name: found[name] for name in kept} | {"rows": found["ways"][FITTED]}


def complete(work: Path, needed: str) -> list[Path]:
    """The folds that have this file or folder, in order."""
    return sorted(path for path in work.glob("seed-*-fold-*") if (path / needed).exists())


def with_folds(work: Path, needed: str) -> dict[str, list[Path]]:
    """Seed -> its folds that have this file or folder."""
    by_seed: dict[str, list[Path]] = {}
    for folder in complete(work, needed):
        by_seed.setdefault(folder.name.partition("-fold")[0], []).append(folder)
    return by_seed


def main() -> None:
    parser = parser_of(__doc__, work="runs/bench-cmc2007", draws=1000)
    args = arguments(parser)
    if not with_folds(args.work, "coder"):
        parser.error(f"{args.work} has no complete fold: run benchmarks/cmc2007.py first")

    def per_seed(needed: str, read: Callable[[Path], Any], measure: Callable[[list[Any]], dict[str, Any]]) -> Any:
        """Of the folds that have this; reports come once a seed, so that seeds are not pooled."""
        return {
            name: {"folds": [folder.name for folder in folders]} | measure([read(folder) for folder in folders])
            for name, folders in with_folds(args.work, needed).items()
        }

    compared, depth = partial(compare, seed=args.seed, draws=args.draws), partial(measured_reading, seed=args.seed)
    ways = per_seed("coder", read_ways, partial(compared, against=SHIPPED))
    systems = per_seed("systems.npz", read_systems, compared)
    reading = per_seed("coder", read_fold, depth)
    stacked = per_seed(STACKED, partial(read_fold, coder=STACKED), depth)
    for name, found in ways.items():
        for way, row in found["ways"].items():
            tell(name, way, {k: round(v["value"], 5) for k, v in row["figures"].items()})
    result = {"bins": BINS, "ways": ways, "systems": systems, "reading": reading, "reading_stacked": stacked}
    finish(args, result, RUNS=args.work)
    if args.out:
        args.out.with_suffix(".svg").write_text(draw(next(iter(ways.values()))["ways"]), encoding="utf-8")


if __name__ == "__main__":
    main()
