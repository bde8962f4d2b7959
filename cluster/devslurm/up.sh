#!/bin/bash
# Start a real SLURM on this machine: slurmctld, one slurmd per node, munge and, with accounting, slurmdbd on MariaDB.
# Run again, it starts what is missing, puts a changed configuration in force and leaves alone what runs.
usage="up.sh [option ...]     (as root, on Debian 12; down.sh stops it)
  --folder DIR          where the cluster keeps everything (default \${TMPDIR:-/tmp}/devslurm); another folder, another cluster
  --nodes N             virtual nodes n1 ... nN, 1 to 100 (4)
  --gpus N              pretended GPUs of a node (2)
  --cpus N              processors that a node claims (4)
  --memory MB           memory that a node claims (8000)
  --max-array N         MaxArraySize, 0 for none (1001)
  --no-accounting       neither slurmdbd nor MariaDB: sacct does not work
  --user NAME           create this user, who may submit jobs, with a home in the folder
  --most-jobs N         jobs that each user may have in the queue (no limit; needs accounting)
  --no-preempt-signal   a preempted job is not sent its own --signal beforehand
  --enforce-memory      a job that takes more memory than it asked for is killed (needs cgroups of version 1)
On standard output: export SLURM_CONF=..., which is all that a client needs."
set -euo pipefail
here=$(dirname "$(realpath "$0")")
. "$here/common.sh"

folder=${TMPDIR:-/tmp}/devslurm nodes=4 gpus=2 cpus=4 memory=8000 max_array=1001 most_jobs='' user='' accounting=yes preempt_signal=yes task=none
arguments=("$@")
while (($#)); do
  case $1 in
    --nodes | --gpus | --cpus | --memory | --max-array | --most-jobs)
      [[ ${2:-} =~ ^(0|[1-9][0-9]*)$ ]] || die "$1 ${2:-}: needs a whole number"
      name=${1#--} && printf -v "${name//-/_}" %s "$2" && shift ;;
    --user)
      [[ ${2:-} =~ ^[a-z][a-z0-9_-]{0,30}$ ]] || die "--user ${2:-}: needs a user name in small letters"
      user=$2 && shift ;;
    --folder) folder=${2:?"--folder needs a directory"} && shift ;;
    --no-accounting) accounting='' ;;
    --no-preempt-signal) preempt_signal='' ;;
    --enforce-memory) task=cgroup ;;
    --help) echo "$usage" && exit ;;
    *) die "unknown option $1"$'\n'"$usage" ;;
  esac
  shift
done
((nodes >= 1 && nodes <= 100)) || die "--nodes $nodes: 1 to 100"
((cpus >= 1 && memory >= 1)) || die "--cpus and --memory must be at least 1"
((max_array != 1)) || die "--max-array 1: 0, for no arrays, or at least 2"
swap=/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes
[ "$task" = none ] || [ -w "$swap" ] || die "--enforce-memory needs $swap, which is not there or not to be written"
[ -n "$accounting" ] || [ -z "$most_jobs" ] || die "--most-jobs needs accounting"
set_folder "$folder"
one_at_a_time "$0" "${arguments[@]}"

# ---- helpers -----------------------------------------------------------------------------------------------------------

# wait_for SECONDS WHAT COMMAND...: until the command succeeds
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2 answer
  shift 2
  until answer=$("$@" 2>&1); do
    [ "$SECONDS" -lt "$deadline" ] || die "$what did not come up; see $folder/log. ${answer##*$'\n'}"
    sleep 0.05
  done
}

# put FILE OWNER MODE: write standard input to the file; succeeds if that changed it
put() {
  local new=$1.new
  (umask 077 && cat >"$new")
  chown "$2:$2" "$new" && chmod "$3" "$new"
  if cmp -s "$new" "$1"; then rm "$new" && return 1; fi
  mv "$new" "$1"
}

# launch NAME COMMAND...: start a daemon with nothing of the caller's: neither its environment (a virtual environment, the
# SLURM_* of a job) nor its output (whoever reads that would wait for the daemon's end)
launch() {
  local name=$1
  shift
  say "starting $name"
  (cd "$folder" && exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin SLURM_CONF="$SLURM_CONF" "$@") \
    </dev/null >>"$folder/log/$name.out" 2>&1 || die "$name does not start: $(tail -n 3 "$folder/log/$name.out")"
}

# ---- packages, folders, node names, pretended GPUs -----------------------------------------------------------------------

. "$here/packages.sh"
install_packages munge slurmctld slurmd slurm-client iproute2 ${accounting:+slurmdbd mariadb-server}

# down.sh --purge removes these folders: they must not be somebody else's. The file of job ids marks a folder as ours.
[ -e "$folder/first-job-id.conf" ] || [ -z "$(ls -A "$folder" 2>/dev/null)" ] || die "--folder $folder: has other things in it"
install -d -m 755 "$folder"
[ -e "$folder/first-job-id.conf" ] || keep_job_ids
install -d -m 755 "$folder"/{etc,log,dev,spool,home}
install -d -m 755 -o munge -g munge "$folder/munge"
install -d -m 755 -o slurm -g slurm "$folder/state" "$folder/run" "$folder/log"
setpriv --reuid munge --regid munge --clear-groups test -x "$folder" ||
  die "--folder $folder: a folder above it is closed to other users, and the daemons (and --user) are others"

# This cluster's ports: 128 that no other has claimed and nobody listens on, below those that the kernel gives to clients.
mapfile -t others < <(other_hosts)
port=$(awk -v folder="$folder" '$(NF-2) == "devslurm" && $(NF-1) == folder {print $NF}' /etc/hosts)
for ((candidate = 12800; candidate < 32000 && ${port:-0} == 0; candidate += 128)); do
  [[ "${others[*]/%/$'\n'}" != *" $candidate"$'\n'* ]] || continue
  ss -Htln | awk -v first="$candidate" '{sub(/.*:/, "", $4)} $4 >= first && $4 < first + 128 {exit 1}' && port=$candidate
done
[ -n "$port" ] || die "no 128 free ports in a row between 12800 and 32000"
write_hosts "${others[@]}" "127.0.0.1 $(seq -s ' ' -f 'n%g' "$nodes") # devslurm $folder $port"

# SLURM hands out device files. These are fakes: enough for programs that only read CUDA_VISIBLE_DEVICES.
for ((i = 0; i < gpus; i++)); do [ -c "$folder/dev/nvidia$i" ] || mknod -m 666 "$folder/dev/nvidia$i" c 1 3; done
for ((i = 1; i <= nodes; i++)); do install -d -m 755 "$folder/spool/n$i"; done

if [ -n "$user" ] && ! [ -d "$(getent passwd "$user" | cut -d: -f6)" ]; then
  if id "$user" >/dev/null 2>&1; then die "--user $user: exists and has no home"; fi
  useradd --system --user-group --create-home --home-dir "$folder/home/$user" --shell /bin/bash "$user"
fi

# ---- munge: who is who ---------------------------------------------------------------------------------------------------

socket=$folder/munge/socket
[ -s "$folder/munge/key" ] || head -c 128 /dev/urandom | put "$folder/munge/key" munge 600
if ! is_running munged "$folder/munge/pid"; then
  rm -f "$socket" "$socket.lock"
  launch munged setpriv --reuid munge --regid munge --clear-groups munged --socket "$socket" --key-file "$folder/munge/key" \
    --pid-file "$folder/munge/pid" --log-file "$folder/munge/log" --seed-file "$folder/munge/seed"
  wait_for 10 munged munge -S "$socket" -n
fi

# ---- slurm.conf ----------------------------------------------------------------------------------------------------------

cluster=devslurm_$(printf %s "$folder" | cksum | cut -d ' ' -f 1)
. "$here/accounting.sh"
is_running slurmctld "$folder/run/slurmctld.pid" || keep_job_ids
changed=''
put "$SLURM_CONF" root 644 <<CONF && changed=yes
ClusterName=$cluster
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
# A requeued job may start again only when its old credential has expired: 5 s instead of 120.
AuthInfo=socket=$socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
Include $folder/first-job-id.conf
# Neither binding to cores nor, but for --enforce-memory, cgroups
TaskPlugin=task/$task
MaxArraySize=$max_array
${preempt_signal:+SlurmctldParameters=preempt_send_user_signal}

$(cat "$here/settings.conf")

$(accounting_settings)

GresTypes=gpu
# All nodes have the one address 127.0.0.1, and a port each: slurmd calls srun back at the address that a request came from.
NodeName=n[1-$nodes] NodeAddr=127.0.0.1 Port=[$((port + 11))-$((port + 10 + nodes))] CPUs=$cpus Boards=1 SocketsPerBoard=1 CoresPerSocket=$cpus ThreadsPerCore=1 RealMemory=$memory TmpDisk=1000 Gres=gpu:$gpus
PartitionName=gpu Nodes=n[1-$nodes] Default=YES PriorityTier=10 PreemptMode=OFF DefaultTime=60 MaxTime=1440
# GraceTime: seconds between the announcement of a preemption and its end
PartitionName=preempt Nodes=n[1-$nodes] PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 DefaultTime=60 MaxTime=1440
CONF
put "$folder/etc/gres.conf" root 644 <<<"$( ((gpus == 0)) || echo "Name=gpu File=$folder/dev/nvidia[0-$((gpus - 1))]")" && changed=yes
[ "$task" = cgroup ] && put "$folder/etc/cgroup.conf" root 644 <<CONF && changed=yes
CgroupPlugin=cgroup/v1
ConstrainRAMSpace=yes
ConstrainSwapSpace=yes
AllowedSwapSpace=0
CONF

# ---- accounting ----------------------------------------------------------------------------------------------------------

if [ -n "$accounting" ]; then start_accounting; else stop_accounting; fi

# ---- slurmctld, slurmd ---------------------------------------------------------------------------------------------------

# Nodes, arrays and accounting do not change by `scontrol reconfigure`; jobs live through a restart of the daemons.
if [ -n "$changed" ]; then
  stop slurmd "$folder"/run/slurmd.*.pid
  stop slurmctld "$folder/run/slurmctld.pid"
  keep_job_ids
fi
is_running slurmctld "$folder/run/slurmctld.pid" || launch slurmctld slurmctld -f "$SLURM_CONF"
wait_for 30 slurmctld scontrol ping

# A name of its own lets `hostname` tell the nodes apart; a container without the right to give one does without.
own_name=()
# shellcheck disable=SC2016 # the inner shell expands them
if unshare --uts true 2>/dev/null; then own_name=(unshare --uts sh -c 'hostname "$0" && exec "$@"'); fi
for ((i = 1; i <= nodes; i++)); do
  is_running slurmd "$folder/run/slurmd.n$i.pid" ||
    launch "slurmd.n$i" ${own_name[0]+"${own_name[@]}" "n$i"} slurmd -N "n$i" -f "$SLURM_CONF"
done

# nodes_are_up: do all nodes answer? One that was set down or drained, by hand too, is brought back.
nodes_are_up() {
  local node state ready=0
  while read -r node state; do
    case $state in
      *\* | unk*) ;;
      down* | drain* | fail*) scontrol update nodename="$node" state=resume || true ;;
      *) ready=$((ready + 1)) ;;
    esac
  done < <(sinfo -hN -p gpu -o '%N %T')
  ((ready == nodes))
}
wait_for 60 "a node" nodes_are_up
echo "export SLURM_CONF=$SLURM_CONF"
