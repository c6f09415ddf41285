#!/usr/bin/env bash
# A small benchmark through a real SLURM on this machine alone: job arrays, a job that is cancelled, a second go.
# Needs root on Debian or Ubuntu: apt-get install slurm-wlm munge. Where no SLURM answers, munged, slurmctld and slurmd
# are started with a configuration of their own in FOLDER, and ended with the script. Exit code 77: not installed.
#   bash benchmarks/slurm.sh [FOLDER]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
if ! command -v sbatch slurmctld slurmd munged >/dev/null; then
  echo "Skipped: SLURM is not installed here (as root: apt-get install slurm-wlm munge)." >&2
  exit 77
fi
folder="$(realpath -m "${1:-$(mktemp -d)}")"
state="$folder/slurm"
mkdir -p "$state"
started=()
trap 'for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done' EXIT

if ! sinfo >/dev/null 2>&1; then
  echo "Starting SLURM on this machine, state in $state"
  mkdir -p /run/munge && chown munge: /run/munge
  if ! munge -n >/dev/null 2>&1; then
    chmod 700 /etc/munge && chown -R munge: /etc/munge /var/lib/munge /var/log/munge
    runuser -u munge -- /usr/sbin/munged --foreground >"$state/munged.log" 2>&1 &
    started+=($!)
    sleep 1
  fi
  cat >"$state/slurm.conf" <<CONF
ClusterName=here
SlurmctldHost=$(hostname)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldPidFile=$state/ctld.pid
SlurmdPidFile=$state/d.pid
SlurmctldLogFile=$state/ctld.log
SlurmdLogFile=$state/d.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
$(slurmd -C | head -1) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  export SLURM_CONF="$state/slurm.conf"
  slurmctld -D >"$state/ctld.out" 2>&1 & started+=($!)
  slurmd -D >"$state/d.out" 2>&1 & started+=($!)
  for _ in $(seq 30); do sinfo -h -o %T 2>/dev/null | grep -q idle && break; sleep 1; done
  sinfo
fi

export OUTPUT="$folder/output" CACHE="${CACHE:-$folder/cache}"
command=(bash "$root/scripts/benchmark.sh" fewshot --datasets shapes --methods GDA SimNL TaskRes --shots 1 2 --seeds 1 2)
on_slurm=(--executor slurm --jobs 2 --slurm cpus_per_task=1)
echo "== dry run"
"${command[@]}" "${on_slurm[@]}" --dry-run
echo "== stopped while its jobs run: they are cancelled"
"${command[@]}" "${on_slurm[@]}" &
pid=$!
until [ -n "$(find "$OUTPUT" -name result.json 2>/dev/null | head -1)" ]; do kill -0 $pid && sleep 0.2; done
kill -TERM $pid
wait $pid || echo "exit code $?"
echo "done before the stop: $(find "$OUTPUT" -name result.json | wc -l) of 12 cells"
for _ in $(seq 20); do [ -z "$(squeue -h)" ] && break; sleep 1; done
echo "left in the queue: $(squeue -h | wc -l) jobs"
echo "== to the end"
"${command[@]}" "${on_slurm[@]}"
echo "== the same cells in this process: all of them are done"
"${command[@]}"
