#!/usr/bin/env bash
# Starts munge and a Slurm of one node on this machine's loopback, runs a command, and stops both again.
#
#     sudo apt-get install slurm-wlm munge
#     sudo examples/slurm/loopback.sh sparra run study.yaml --engine slurm
#
# It needs to be root, touches nothing of a Slurm that is set up already, and listens on 127.0.0.1 alone.
set -euo pipefail
[ "$#" -gt 0 ] || { echo "usage: $0 COMMAND..." >&2; exit 2; }
work=$(mktemp -d /tmp/slurm-loopback.XXXXXX)
chmod 755 "$work"
host=$(hostname -s)
stop() {
    for name in slurmd slurmctld munged; do
        [ -f "$work/$name.pid" ] && kill "$(cat "$work/$name.pid")" 2>/dev/null || true
    done
    sleep 1
    [ -n "${KEEP_LOGS:-}" ] || rm -rf "$work"
}
trap stop EXIT

install -d -o munge -m 700 "$work/munge"
dd if=/dev/urandom of="$work/munge/key" bs=128 count=1 status=none
chown munge "$work/munge/key" && chmod 400 "$work/munge/key"
chmod 711 "$work/munge"
runuser -u munge -- munged --key-file="$work/munge/key" --socket="$work/munge/socket" \
    --pid-file="$work/munge/pid" --log-file="$work/munge/log" --seed-file="$work/munge/seed"
ln -s "$work/munge/pid" "$work/munged.pid"

mkdir "$work/state" "$work/spool"
cat > "$work/slurm.conf" <<CONF
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmctldParameters=enable_configless
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
CredType=cred/munge
SlurmUser=root
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.95)}' /proc/meminfo) State=UNKNOWN
PartitionName=loopback Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$work/slurm.conf"
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 30); do
    sinfo -h -o %T 2>/dev/null | grep -q -E 'idle|mixed' && break
    sleep 1
done
sinfo
"$@"
