# What up.sh and down.sh share: messages, the machine-wide lock, and which process is whose. Sourced, not run.
# shellcheck shell=bash

export LC_ALL=C

say() { printf 'devslurm: %s\n' "$*" >&2; } # standard output is left to the one line that a shell can evaluate
die() {
  say "$*"
  exit 1
}

# set_folder DIR: where a cluster keeps everything of its own; the clients find it through SLURM_CONF
set_folder() {
  folder=$(realpath -m -- "$1")
  # slurm.conf knows no quotes, and the sockets below the folder must stay under the 108 bytes of a Unix socket's name
  [[ $folder =~ ^/[A-Za-z0-9._/-]{1,60}$ ]] || die "--folder $folder: at most 60 plain characters (A-Z a-z 0-9 . _ / -)"
  export SLURM_CONF=$folder/etc/slurm.conf
}

# one_at_a_time SCRIPT ARGUMENT...: start the script again under a lock, because the clusters of a machine share its
# packages, its users and its /etc/hosts. flock holds the lock itself (--close): no daemon inherits it.
one_at_a_time() {
  [ "$(id -u)" = 0 ] || die "needs root: it installs packages and starts daemons"
  [ -z "${DEVSLURM_LOCKED:-}" ] || return 0
  DEVSLURM_LOCKED=1 exec flock --close --timeout 900 /etc/hosts bash "$@"
}

# is_ours PID PROGRAM: does that process run the program for this cluster? A pid file may be older than the pid: hence the
# look at the executable (which a zombie lacks), and at a command line or working directory inside the folder.
is_ours() {
  local executable
  executable=$(readlink "/proc/$1/exe") && executable=$(basename "${executable% (deleted)}")
  [ "${executable%-wlm}" = "$2" ] || return 1 # slurmd is a link of Debian's alternatives to slurmd-wlm
  [[ $(readlink "/proc/$1/cwd")/ == "$folder"/* ]] || tr '\0' '\n' <"/proc/$1/cmdline" | grep -qF "$folder/"
}

# is_running PROGRAM PIDFILE
is_running() {
  local pid
  pid=$(cat "$2" 2>/dev/null) && [ -n "$pid" ] && is_ours "$pid" "$1" 2>/dev/null
}

# stop PROGRAM PIDFILE...: end these daemons (all are told before any is waited for)
stop() {
  local program=$1 file deadline=$((SECONDS + 15))
  shift
  for file; do ! is_running "$program" "$file" || kill "$(cat "$file")"; done
  for file; do
    while is_running "$program" "$file"; do
      [ "$SECONDS" -lt "$deadline" ] || kill -KILL "$(cat "$file")"
      sleep 0.05
    done
    rm -f "$file"
  done
}

# write_hosts LINE...: /etc/hosts with these lines for the clusters of this machine. Written in place: it is often a mount.
write_hosts() {
  local text
  text=$(grep -v ' # devslurm ' /etc/hosts || true; (($# == 0)) || printf '%s\n' "$@")
  [ "$text" = "$(cat /etc/hosts)" ] || printf '%s\n' "$text" >/etc/hosts
}

# other_hosts: the lines in /etc/hosts of the other clusters ("127.0.0.1 n1 n2 # devslurm FOLDER FIRST_PORT"), without
# those whose folder was deleted
other_hosts() {
  local line its
  while read -r line; do
    its=${line##* # devslurm } its=${its% *}
    [ "$its" = "$folder" ] || [ ! -d "$its" ] || printf '%s\n' "$line"
  done < <(grep ' # devslurm ' /etc/hosts)
}

# keep_job_ids: write FirstJobId, which slurm.conf includes and --purge leaves, beyond every id given out so far, so that none
# ever comes again: programs that name files by job id would take an old job's for a new one's. Only slurmctld's log knows all
# of them; its saved state lags by seconds, and a killed slurmctld would give the last ones out again. A new folder begins
# with the time, so that the ids of several folders seldom meet.
keep_job_ids() {
  local first last
  first=$(cut -d= -f2 "$folder/first-job-id.conf" 2>/dev/null || echo $(($(date +%s) % 60000000 + 1)))
  last=$({ grep -oE 'JobId=[0-9]+(_[0-9]+\([0-9]+\))?' "$folder/log/slurmctld.log" 2>/dev/null || true; } |
    grep -oE '[0-9]+' | sort -n | tail -n 1) || true
  echo "FirstJobId=$((${last:-0} < first ? first : last + 1))" >"$folder/first-job-id.conf.new"
  mv "$folder/first-job-id.conf.new" "$folder/first-job-id.conf"
}
