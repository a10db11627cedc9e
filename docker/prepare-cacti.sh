#!/bin/bash
# Move the scratch folder of CACTI's plug-in for Accelergy: prepare-cacti SCRATCH ACCELERGY ROOT...
# SCRATCH takes its place by a symbolic link; the plug-in is looked for beside the program ACCELERGY and below each ROOT.
set -euo pipefail
scratch=$1 accelergy=$(readlink -f "$2")
shift 2
found=0
while IFS= read -r wrapper; do
    folder=$(dirname "$wrapper")/cacti_inputs_outputs
    rm -rf "$folder"
    ln -s "$scratch" "$folder"
    found=$((found + 1))
done < <(find "$(dirname "$(dirname "$accelergy")")" "$@" -path '*estimation_plug_ins*' -name cacti_wrapper.py | sort -u)
if [ "$found" = 0 ]; then
    echo "prepare-cacti: no estimation_plug_ins/*/cacti_wrapper.py beside $accelergy or below $*" >&2
    exit 1
fi
