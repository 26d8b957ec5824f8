#!/usr/bin/env bash
# From MIMIC-III's raw tables to results.json and report.html in one command. What is complete is not run again.
#
#   runs/mimic3.sh TASK MIMIC_DIR SPLITS_DIR [OUT] [tuning options that override the config ...]
#   runs/mimic3.sh mimic3-50 ~/mimic-iii-1.4 ~/splits runs/mimic3-50
#   PRESET=multi_gpu runs/mimic3.sh mimic3-50 ~/mimic-iii-1.4 ~/splits runs/mimic3-50 --learning_rate 1e-4
#
# TASK    mimic3-50, mimic3-50-recounted, mimic3-rare50, mimic3-full, mimic3-full-recounted or mimic3-clean
# PRESET  tune through accelerate: multi_gpu, fsdp, deepspeed_zero2 or deepspeed_zero3 (configs/accelerate/); without it
#         one process tunes. Scoring and the rest take one GPU.
# CONFIG  another tuning config than the task's (a shipped name or a file).  SEED  of split, folds and tuning (0).
set -euo pipefail

if [ $# -lt 3 ]; then
  sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
task=$1 tables=$2 splits=$3 out=${4:-runs/$1}
shift $(( $# < 4 ? 3 : 4 ))
here=$(cd "$(dirname "$0")/.." && pwd)
config=${CONFIG:-${task%-recounted}}
seed=${SEED:-0}
preset="$here/configs/accelerate/${PRESET:-single_gpu}.yaml"
if ! command -v concept-icd >/dev/null; then
  echo "mimic3.sh: there is no concept-icd command; activate the environment first: . .venv/bin/activate" >&2
  exit 2
elif [ ! -f "$preset" ]; then
  echo "mimic3.sh: there is no preset $PRESET; presets: $(cd "$(dirname "$preset")" && ls | sed 's/\.yaml//' | xargs)" >&2
  exit 2
fi

concept-icd prepare mimic3 --task "$task" --mimic-dir "$tables" --splits-dir "$splits" --out "$out/prepared"
if [ -n "${PRESET:-}" ] && [ ! -f "$out/run/tuned/manifest.json" ]; then
  accelerate launch --config_file "$preset" "$here/scripts/finetune.py" \
    --config "$config" --corpus "$out/prepared" --output_dir "$out/run/tuned" --seed "$seed" "$@"
fi
concept-icd run --corpus "$out/prepared" --config "$config" --out "$out/run" --seed "$seed" -- "$@"
