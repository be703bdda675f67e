# shellcheck shell=bash
# What the launchers share; sourced by them. Bash 4.4 or newer.
#
# A launcher says what it is in the comment at its top, which --help prints.

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "error: bash 4.4 or newer is needed, this is $BASH_VERSION" >&2
  exit 2
fi

declare -A given=() # what was given for each option
rest=()             # what follows --

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "error: $*"
  exit 2
}

# usage: prints the comment at the top of the launcher.
usage() { sed -n '2,/^$/{s/^# \{0,1\}//p}' "$0"; }

# parse "NAME= SWITCH ..." "$@": fills `given` and `rest`, and refuses what is not named. NAME= takes a value,
# SWITCH none; --dry-run and --help are always known.
parse() {
  local known=" $1 dry-run help " option name
  shift
  while (($#)); do
    option=$1
    shift
    name=${option#--}
    if [[ $option == -- ]]; then
      rest=("$@")
      break
    elif [[ $option == --*=* && $known == *" ${name%%=*}= "* ]]; then
      given[${name%%=*}]=${name#*=}
    elif [[ $option == --* && $known == *" $name "* ]]; then
      given[$name]=1
    elif [[ $option == --* && $known == *" $name= "* ]]; then
      fail "$option has no value; give $option=VALUE"
    else
      fail "unknown argument $(quoted "$option"); known: $(known_options "$known"); see $0 --help"
    fi
  done
  if [[ -n ${given[help]:-} ]]; then
    usage
    exit
  fi
}

known_options() {
  local names
  read -ra names <<<"$1"
  echo "${names[@]/#/--}"
}

# need NAME ...: each of these options must have been given.
need() {
  local name
  for name; do
    [[ -n ${given[$name]:-} ]] || fail "--$name is missing; see $0 --help"
  done
}

# need_number NAME ...: each must be a whole number above zero.
need_number() {
  local name
  for name; do
    [[ ${given[$name]} =~ ^[1-9][0-9]{0,8}$ ]] || fail "--$name=${given[$name]} is no whole number above zero"
  done
}

# need_program PROGRAM HINT
need_program() {
  dry_run || command -v "$1" >/dev/null || fail "$1 is not found on PATH; $2"
}

# need_flag NAME EXAMPLE: this flag must be among the arguments after --.
need_flag() {
  local flag
  for flag in "${rest[@]}"; do
    if [[ $flag == "--$1" || $flag == "--$1="* ]]; then return; fi
  done
  fail "--$1 is missing after --; give -- --$1=$2"
}

dry_run() { [[ -n ${given[dry-run]:-} ]]; }

# quoted ARGUMENT ...: the arguments as a shell reads them back.
quoted() {
  local text
  printf -v text '%q ' "$@"
  printf '%s\n' "${text% }"
}

# run COMMAND ...: runs it, or prints it when this is a dry run.
run() {
  if dry_run; then quoted "$@"; else "$@"; fi
}

# need_name NAME: the option must be fit to name something in a cloud.
need_name() {
  need "$1"
  [[ ${given[$1]} =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
    fail "--$1=$(quoted "${given[$1]}") must be small letters, digits and -, at most 40, and begin with a letter"
}

# confirm WHAT: goes on only if yes is typed, or --yes was given.
confirm() {
  local answer=
  if dry_run || [[ -n ${given[yes]:-} ]]; then return; fi
  printf '%s Type yes to go on: ' "$*" >&2
  read -r answer || true
  [[ $answer == yes ]] || fail "not confirmed; nothing was done"
}
