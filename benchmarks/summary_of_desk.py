"""The section of the results' page on the desk: requests, its own cost, search, load, kills (see summary.py)."""

from __future__ import annotations

from statistics import median
from typing import Any


def desk(result: dict[str, Any]) -> list[str]:
    own, search, load = result["own_cost"], result["search"], result["load"]
    lines = [
        "## The coder's desk",
        "",
        f"Radiology reports through `POST /v1/code`, {result['cores']} cores shared with the clients; load average "
        f"{result['load_average_before'][0]:.1f} before.",
        "",
        "| clients | requests/s | p50, ms | p99, ms | the same without micro-batching | gain |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["batching"]:
        with_, without = (
            [median(run[name] for run in row[way]) for name in ("requests_per_second", "p50_ms", "p99_ms")]
            for way in ("micro_batching", "none")
        )
        alone = f"{without[0]:.1f}/s, {without[1]:.0f}, {without[2]:.0f}"
        gain = median(row["ratio_of_requests_per_second"])
        lines.append(f"| {row['clients']} | {with_[0]:.1f} | {with_[1]:.0f} | {with_[2]:.0f} | {alone} | {gain:.2f} |")
    low, high = own["difference_interval_95"]
    codes = ", ".join(f"{status}: {count:,}" for status, count in sorted(load["statuses"].items()))
    return [
        *lines,
        "",
        f"One note through the library {own['library_median_ms']:.0f} ms, over HTTP {own['http_median_ms']:.0f} ms: "
        f"{own['difference_median_ms']:.0f} ms more [{low:.0f}, {high:.0f}] (median of {own['notes']} pairs).",
        "",
        f"Search in {search['codes']:,} codes, {search['queries']:,} queries over HTTP: p50 {search['p50_ms']:.1f} ms, "
        f"p99 {search['p99_ms']:.1f} ms.",
        "",
        f"{load['minutes']:.0f} minutes with 64 clients that never pause: answers by status {codes}; "
        f"{load['notes_scored']:,} notes scored; memory {load['rss_mib_second_quarter']:.0f} MiB in the second "
        f"quarter, {load['rss_mib_last_quarter']:.0f} MiB in the last."
        + (f" Measured earlier, at commit {load['commit'][:7]}, with the coder of then." if "commit" in load else ""),
        "",
    ]


def desk_kill(result: dict[str, Any]) -> list[str]:
    return [
        "## The desk's record, killed",
        "",
        f"{result['kills']} kills (SIGKILL) in a scripted review, {result['database']}: "
        f"{result['decisions_acknowledged']} decisions acknowledged, {len(result['wrong_afterwards'])} wrong or "
        f"missing afterwards; {result['requests_cut_off']} requests were cut off.",
        "",
    ]
