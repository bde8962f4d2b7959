# install_packages NAME...: from Debian, those that are missing. Sourced by up.sh.
# shellcheck shell=bash

install_packages() {
  local name log missing=() policy=/usr/sbin/policy-rc.d
  for name; do dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name"); done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "needs Debian's packages ${missing[*]}, and there is no apt-get"
  say "installing ${missing[*]}"
  # The packages must not start daemons of their own: policy-rc.d forbids it, and container images often have one already.
  if [ ! -e $policy ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
  fi
  log=$(mktemp)
  get() { DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}" >>"$log" 2>&1 </dev/null; }
  get || { apt-get update -q >>"$log" 2>&1 && get; } || die "apt-get install ${missing[*]} failed: $(tail -n 5 "$log")"
  rm -f "$log"
}
