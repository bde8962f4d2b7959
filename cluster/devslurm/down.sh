#!/bin/bash
# Stop the cluster of up.sh: its jobs, then its own daemons and no others, and its line in /etc/hosts.
#   down.sh [--folder DIR] [--purge]     --purge: forget jobs, accounting, logs and configuration too, and delete --user's user
set -euo pipefail
. "$(dirname "$(realpath "$0")")/common.sh"

folder=${TMPDIR:-/tmp}/devslurm purge=''
arguments=("$@")
while (($#)); do
  case $1 in
    --folder) folder=${2:?"--folder needs a directory"} && shift ;;
    --purge) purge=yes ;;
    *) die "unknown option $1: down.sh [--folder DIR] [--purge]" ;;
  esac
  shift
done
set_folder "$folder"
one_at_a_time "$0" "${arguments[@]}"
[ -e "$folder/first-job-id.conf" ] || { say "$folder: no cluster of up.sh is here" && exit; }

# ---- jobs: ended while slurmctld is there to write it down ---------------------------------------------------------------

jobs_in_queue() { squeue --noheader --format=%A | sort -u; }
if is_running slurmctld "$folder/run/slurmctld.pid" && scontrol ping >/dev/null 2>&1; then
  jobs_in_queue | xargs -r scancel --quiet --state=PENDING || true
  jobs_in_queue | xargs -r scancel --quiet --signal=KILL --full || true # at once, without the seconds of KillWait
  jobs_in_queue | xargs -r scancel --quiet || true
  for _ in {1..100}; do [ -z "$(jobs_in_queue)" ] || sleep 0.1; done
fi

# ---- daemons, and job steps that outlived theirs ---------------------------------------------------------------------------

# kill_tree PID: the process and all below it, parents first, so that none is replaced
kill_tree() {
  local children child
  children=$(cat "/proc/$1"/task/*/children 2>/dev/null || true)
  kill -KILL "$1" 2>/dev/null || true
  for child in $children; do kill_tree "$child"; done
}

stop slurmd "$folder"/run/slurmd.*.pid
# A step listens on a socket in its node's spool folder, which says whose it is.
for pid in $(ss -Hxlp | grep -F " $folder/spool/" | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u); do
  ! is_ours "$pid" slurmstepd || kill_tree "$pid"
done
stop slurmctld "$folder/run/slurmctld.pid"
stop slurmdbd "$folder/run/slurmdbd.pid"
stop mariadbd "$folder/database/pid"
stop munged "$folder/munge/pid"

for node in "$folder"/spool/*; do
  rmdir "/sys/fs/cgroup/memory/slurm_${node##*/}" 2>/dev/null || true # of --enforce-memory, and empty
done

mapfile -t others < <(other_hosts)
write_hosts "${others[@]}"

# ---- what remains ----------------------------------------------------------------------------------------------------------

if [ -n "$purge" ]; then
  keep_job_ids
  while IFS=: read -r name _ _ _ _ home _; do
    [ "$home" != "$folder/home/$name" ] || userdel "$name" || say "user $name stays"
  done < <(getent passwd)
  rm -rf "${folder:?}"/{etc,log,dev,spool,home,munge,state,run,database}
fi
say "stopped $folder"
