"""The sections of benchmarks/README.md about the medication network (see summary.py)."""

from __future__ import annotations

from typing import Any

LEVELS = ("all levels", "chapter", "section", "category", "subcategory", "code", "billing", "billing, top 50")
RECALLS = (25, 50, 75, 100)


def medication_tables(result: dict[str, Any]) -> list[str]:
    return [
        "## Stays of the medication network from tables of MIMIC-III's size",
        "",
        f"{result['stays']:,} generated stays, {result['prescription_rows']:,} rows of PRESCRIPTIONS: read in "
        f"{result['seconds']['read the tables']['processor']:.0f} processor seconds, "
        f"peak {result['peak_gib']:.2f} GiB.",
        "",
    ]


def medication_metrics(result: dict[str, Any]) -> list[str]:
    return [
        "## Metrics over thousands of codes, and scikit-learn's calls for the same figures",
        "",
        f"{result['stays']:,} stays x {result['nodes']:,} nodes, {result['gold_pairs']:,} gold pairs, one thread, "
        f"processor seconds; ours: median of {result['rounds']} rounds.",
        "",
        "| figures | seconds | scikit-learn's | which goes | times faster | largest gap |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {row['seconds']:.2f} | {row['scikit_learn_seconds']:.1f} | {row['scikit_learn_goes']} | "
            f"{row['times_faster']} | {row['largest_gap']:.0e} |"
            for name, row in result["families"].items()
        ),
        "",
    ]


def medication_network(result: dict[str, Any]) -> list[str]:
    logits, codes, epoch = result["logits"], result["codes"], result.get("epoch_with_500_dev_stays")
    lines = [
        "## The medication network at MIMIC-III's size",
        "",
        f"{result['inputs']:,} inputs, {result['network']['hidden']} hidden layers of {result['network']['units']:,} "
        f"units, {result['nodes']:,} outputs, {result['parameters'] / 1e6:.1f} M parameters; load average "
        f"{result['load_average']}: others on the machine lengthen the wall time.",
        "",
        "| | wall, s | processor, s | peak, GiB |",
        "|---|---|---|---|",
        f"| all outputs of {result['stays']:,} stays, streamed | {logits['wall']} | {logits['processor']} | |",
        f"| the 50 best billing codes of each in Parquet, the whole command | {codes['wall']} | {codes['processor']} | "
        f"{codes['peak_gib']} |",
    ]
    if epoch is not None:
        lines += [
            f"| one epoch of {result['training_stays']:,} stays, and 500 dev stays | {epoch['wall']} | "
            f"{epoch['processor']} | |",
            "",
            f"Epochs a minute: {epoch['epochs_per_minute']}.",
        ]
    return [
        *lines,
        "",
        f"The study reads all stays in {result['study_seconds_on_a_t4']} s on a T4, another machine (Marcou et al.).",
        "",
    ]


def medication_quality(result: dict[str, Any]) -> list[str]:
    held = sum(fold["test"] for fold in result["folds"].values())
    each = next(iter(result["folds"].values()))
    title = (
        "Codes from drugs: generated stays with a known rule"
        if result["source"] == "generated"
        else "Codes from drugs: the open MIMIC-III demo, folds that leave patients out"
    )
    head = [
        f"## {title}",
        "",
        f"{result['stays']:,} stays of {result['patients']:,} patients, {result['nodes']['all levels']:,} nodes; "
        f"{len(result['folds'])} {result['split']}, {held:,} test stays (the first fold: {each['train']:,} train, "
        f"{each['dev']:,} dev, {each['test']:,} test). {', '.join(f'{k} {v}' for k, v in result['options'].items())}. "
        f"Means over test stays, 95 % over patients, {result['draws']:,} draws.",
        "",
        f"| nodes | system | NDCG | {' | '.join(f'RE@{recall}' for recall in RECALLS)} |",
        f"|---|---|---|{'---|' * len(RECALLS)}",
    ]
    keys = ("ndcg", *(f"rank_errors_at_{recall}" for recall in RECALLS))
    rows = [
        f"| {level} | {name} | " + " | ".join(_cell(sets[level][key]) for key in keys) + " |"
        for level in LEVELS
        if level in result["nodes"]
        for name, sets in result["figures"].items()
        if level in sets
    ]
    told = [
        f"{name} against the dummy, RE@R of every set of nodes, recall and form: fewer errors in {won['fewer']} of "
        f"{won['comparisons']}, with an interval below 0 in {won['fewer, interval below 0']}, above 0 in "
        f"{won['more, interval above 0']}."
        for name, won in result["wins_over_the_dummy"].items()
    ]
    return [*head, *rows, "", *told, *_several(result), ""]


def _several(result: dict[str, Any]) -> list[str]:
    """One network for all levels against several."""
    took, gaps = result["training_processor_seconds_a_fold"], result["differences"]["multitask"]
    if "per-tree-level" not in gaps:  # results from before the study's four networks
        gap = gaps["per-level"]["all levels"]
        return [
            f"Per-level less multitask, all levels: NDCG {_difference(gap['ndcg'])}, RE@50 "
            f"{_difference(gap['rank_errors_at_50'])}; processor seconds a fold: {took['per-level']:.0f} against "
            f"{took['multitask']:.0f}, {took['per-level'] / took['multitask']:.1f} times as many.",
            "This run comes from before the networks were the study's: per-level was five networks, trained together.",
        ]
    ours, studys = gaps["per-tree-level"]["all levels"], gaps["per-level"]["billing"]
    return [
        "multitask: the study's network of all levels; per-level: the study's four networks, which answer no other "
        "sets; per-tree-level: ours, one for each of the five levels.",
        f"Per-level less multitask, billing: NDCG {_difference(studys['ndcg'])}, RE@50 "
        f"{_difference(studys['rank_errors_at_50'])}. Per-tree-level less multitask, all levels: NDCG "
        f"{_difference(ours['ndcg'])}, RE@50 {_difference(ours['rank_errors_at_50'])}. Processor seconds a fold: "
        + ", ".join(f"{name} {took[name]:.0f}" for name in ("multitask", "per-level", "per-tree-level"))
        + ".",
    ]


def _cell(figure: dict[str, Any]) -> str:
    if figure["low"] is None:  # one patient decides it
        return _number(figure["mean"])
    return f"{_number(figure['mean'])} [{_number(figure['low'])}, {_number(figure['high'])}]"


def _difference(figure: dict[str, Any]) -> str:
    return f"{figure['difference']:+.3f} [{figure['low']:+.3f}, {figure['high']:+.3f}]"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
