#!/usr/bin/env bash
# A Slurm of one node on this machine, from nothing, for the tests: munged, slurmctld and slurmd on the loopback, everything in one folder.
#
#   tests/slurm/setup.sh up FOLDER      installs slurm-wlm and munge where they are missing, starts them, prints FOLDER/slurm.conf
#   tests/slurm/setup.sh down FOLDER    cancels what runs and stops them; FOLDER keeps only logs, and may be deleted
#
# Needs root on Debian or Ubuntu, and says with exit status 3 that it cannot be done here. A client finds this cluster, and no other, with SLURM_CONF=FOLDER/slurm.conf and FOLDER/bin before PATH:
# within a job Snakemake's plugin takes every variable that starts with SLURM_ from srun, so the srun in FOLDER/bin says it again.
set -euo pipefail

fail() { echo "error: $*" >&2; exit 1; }
cannot() { echo "error: $*" >&2; exit 3; }

ports() {  # N ports that are free now
  python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(found.getsockname()[1] for found in sockets))
PYTHON
}

up() {
  [ "$(id -u)" = 0 ] || cannot "slurmd starts jobs, so this needs root; run it as root, or use the cluster that is there"
  if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
    command -v apt-get >/dev/null || cannot "no slurmctld, slurmd or munged, and no apt-get to install them with; install Slurm and munge"
    # policy-rc.d keeps the packages from starting services of their own
    local policy=/usr/sbin/policy-rc.d
    [ -e $policy ] && policy= || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy; }
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge; } >&2 ||
      { [ -z "$policy" ] || rm $policy; cannot "apt-get could not install slurm-wlm and munge"; }
    [ -z "$policy" ] || rm $policy
  fi

  mkdir -p "$folder"/{bin,log,munge,spool,state}
  chmod 755 "$folder" "$folder"/munge
  head -c 1024 /dev/urandom >"$folder/munge/key"
  chmod 400 "$folder/munge/key"
  local host cpus memory controller daemon
  host=$(hostname -s)
  cpus=$(getconf _NPROCESSORS_ONLN) # nproc would say OMP_NUM_THREADS where that is set
  memory=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
  read -r controller daemon < <(ports 2)

  # Memory is neither shared out nor enforced, which would take cgroups. The node claims 64 GB at least (config_overrides: it is not asked
  # what it really has), so that a profile whose requests are those of a cluster is accepted.
  cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$daemon
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=600
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$((memory > 65536 ? memory : 65536)) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF

  printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$folder/slurm.conf" "$(command -v srun)" >"$folder/bin/srun"
  chmod +x "$folder/bin/srun"

  munged --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munged.pid" \
    --seed-file="$folder/munge/seed" --log-file="$folder/log/munged.log" || fail "munged did not start; see $folder/log/munged.log"
  export SLURM_CONF="$folder/slurm.conf"
  slurmctld || { down; fail "slurmctld did not start; see $folder/log/slurmctld.log"; }
  slurmd || { down; fail "slurmd did not start; see $folder/log/slurmd.log"; }
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ] && { echo "$SLURM_CONF"; return; }
    sleep 0.5
  done
  down
  fail "the node did not become idle within 30 s; see $folder/log"
}

down() {
  export SLURM_CONF="$folder/slurm.conf"
  if [ -e "$folder/slurmctld.pid" ]; then
    scancel --state=PENDING --user="$(id -un)" 2>/dev/null || true
    scancel --user="$(id -un)" 2>/dev/null || true
    for _ in $(seq 30); do
      [ -z "$(squeue --noheader 2>/dev/null)" ] && break
      sleep 0.5
    done
  fi
  for name in slurmd slurmctld munged; do
    [ -s "$folder/$name.pid" ] || continue
    local pid
    pid=$(cat "$folder/$name.pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 40); do kill -0 "$pid" 2>/dev/null || break; sleep 0.25; done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$folder/$name.pid"
  done
  rm -rf "$folder"/{bin,munge,spool,state}
}

[ $# = 2 ] || fail "usage: $0 up|down FOLDER"
folder=$(mkdir -p "$2" && cd "$2" && pwd)
case $1 in
  up) up ;;
  down) down ;;
  *) fail "usage: $0 up|down FOLDER" ;;
esac
