# Accounting: slurmdbd on a MariaDB of its own, the cluster's accounts and its limit of jobs. Sourced by up.sh, with its variables.
# shellcheck shell=bash disable=SC2154

start_accounting() {
  local database=$folder/database changed=''
  install -d -m 755 -o mysql -g mysql "$database"
  # Only the socket: no port, and no password, because MariaDB asks the kernel who is at its other end.
  put "$folder/etc/mariadb.conf" root 644 <<CONF || true
[mariadbd]
user=mysql
datadir=$database/data
socket=$database/socket
pid-file=$database/pid
log-error=$database/log
skip-networking
# small and quick: nothing here has to survive a power cut
innodb_buffer_pool_size=64M
innodb_log_file_size=16M
innodb_flush_log_at_trx_commit=0
innodb_lock_wait_timeout=900
CONF
  if [ ! -d "$database/data/mysql" ]; then
    say "creating the database"
    # without the caller's TMPDIR, in which the user mysql may have no right to write
    env -u TMPDIR mariadb-install-db --defaults-file="$folder/etc/mariadb.conf" --user=mysql --auth-root-authentication-method=socket \
      --skip-test-db >"$folder/log/mariadb-install-db.out" 2>&1 || die "mariadb-install-db failed; see $folder/log"
  fi
  query() { mariadb --no-defaults --socket="$database/socket" --user=root --execute="$1"; }
  if ! is_running mariadbd "$database/pid"; then
    launch mariadbd setsid --fork mariadbd --defaults-file="$folder/etc/mariadb.conf"
    wait_for 60 mariadbd query 'select 1'
    query "create user if not exists slurm@localhost identified via unix_socket; grant all on slurm_acct_db.* to slurm@localhost"
  fi

  put "$folder/etc/slurmdbd.conf" slurm 600 <<CONF && changed=yes
AuthType=auth/munge
AuthInfo=socket=$socket
DbdHost=$(hostname -s)
DbdAddr=127.0.0.1
DbdPort=$((port + 1))
CommunicationParameters=NoInAddrAny
SlurmUser=slurm
PidFile=$folder/run/slurmdbd.pid
LogFile=$folder/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct_db
# Write to the database at once, so that sacct is up to date.
CommitDelay=0
CONF
  [ -z "$changed" ] || stop slurmdbd "$folder/run/slurmdbd.pid"
  is_running slurmdbd "$folder/run/slurmdbd.pid" || launch slurmdbd env MYSQL_UNIX_PORT="$database/socket" slurmdbd
  wait_for 60 slurmdbd sacctmgr -n show cluster

  # The books: read first, because a call takes a fifth of a second.
  local books
  record() { sacctmgr -Qi "$@" >/dev/null || die "sacctmgr $* failed"; }
  books=$'\n'$(sacctmgr -nP show associations format=cluster,account,user)$'\n'
  [[ $books == *$'\n'"$cluster|root|"* ]] || record add cluster "$cluster"
  if [ -n "$user" ] && [[ $books != *"|users|$user"$'\n'* ]]; then
    [[ $books == *"|users|"* ]] || record add account users
    record add user "$user" account=users
  fi
  [ "$(sacctmgr -nP show qos normal format=MaxSubmitJobsPerUser)" = "$most_jobs" ] ||
    record modify qos normal set MaxSubmitJobsPerUser="${most_jobs:--1}"
}

stop_accounting() {
  stop slurmdbd "$folder/run/slurmdbd.pid"
  stop mariadbd "$folder/database/pid"
}

# accounting_settings: its part of slurm.conf. As on real sites, a user without an account may not submit.
accounting_settings() {
  if [ -n "$accounting" ]; then
    cat <<CONF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 1))
# not a password: the socket of munge, which AuthInfo names for all else
AccountingStoragePass=$socket
AccountingStorageEnforce=limits
AccountingStorageTRES=gres/gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=30
CONF
  else
    echo AccountingStorageType=accounting_storage/none
    echo JobAcctGatherType=jobacct_gather/none
  fi
}
