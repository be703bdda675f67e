# shellcheck shell=bash
# Functions that all launchers share; they source this file. Needs bash 4.4 or newer.
#
# The comment at the top of a launcher is its documentation; --help prints it.

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "error: bash 4.4 or newer is needed, this is $BASH_VERSION" >&2
  exit 2
fi

declare -A given=() # value of each option
included=()         # values of --include, which may be given several times
rest=()             # arguments after --

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "error: $*"
  exit 2
}

# usage: print the comment at the top of the launcher.
usage() { sed -n '2,/^$/{s/^# \{0,1\}//p}' "$0"; }

# parse "NAME= SWITCH ..." "$@": fill `given` and `rest`, and refuse unknown options. NAME= takes a value, SWITCH takes
# none; --dry-run and --help are always known.
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
    elif [[ $option == --include=* && $known == *" include= "* ]]; then
      included+=("${name#*=}")
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

# need NAME ...: each of these options is required.
need() {
  local name
  for name; do
    [[ -n ${given[$name]:-} ]] || fail "--$name is missing; see $0 --help"
  done
}

# need_number NAME ...: each of these options must be a whole number above zero.
need_number() {
  local name
  for name; do
    [[ ${given[$name]} =~ ^[1-9][0-9]{0,8}$ ]] || fail "--$name=${given[$name]} is not a whole number above zero"
  done
}

# need_program PROGRAM HINT: PROGRAM must be installed; HINT says how.
need_program() {
  dry_run || command -v "$1" >/dev/null || fail "$1 is not found on PATH; $2"
}

# has_flag NAME: whether the arguments after -- include this flag.
has_flag() {
  local word
  for word in "${rest[@]}"; do
    if [[ $word == "--$1" || $word == "--$1="* ]]; then return; fi
  done
  return 1
}

# need_flag NAME EXAMPLE: the arguments after -- must include this flag.
need_flag() {
  has_flag "$1" || fail "--$1 is missing after --; give -- --$1=$2"
}

# flag NAME: print the last value of a flag after --.
flag() {
  local number value=
  for ((number = 0; number < ${#rest[@]}; number++)); do
    case ${rest[number]} in
      "--$1="*) value=${rest[number]#*=} ;;
      "--$1") value=${rest[number + 1]:-} ;;
    esac
  done
  printf '%s\n' "$value"
}

# default_workdir: with --bucket=B and no --workdir after --, add --workdir=gs://B/NAME, and if --config.data.dir is not
# there either, --config.data.dir=gs://B/data, where the first host prepares the images for all.
default_workdir() {
  local bucket=${given[bucket]:-}
  if [[ -z $bucket ]]; then return; fi
  [[ $bucket =~ ^[a-z0-9][-_.a-z0-9]*$ ]] ||
    fail "--bucket=$(quoted "$bucket") is not the name of a bucket; leave out gs:// and folders"
  if has_flag workdir; then fail "give either --bucket or --workdir"; fi
  rest+=(--workdir="gs://$bucket/${given[name]}")
  has_flag config.data.dir || rest+=(--config.data.dir="gs://$bucket/data")
}

# split NAME: fill the caller's array `words` with the words of an option, which are split at spaces, except in quotes.
# shellcheck disable=SC2034
split() {
  local text=${given[$1]:-} lines
  words=()
  if [[ ! $text =~ [^[:space:]] ]]; then return; fi
  lines=$(xargs printf '%s\n' <<<"$text" 2>/dev/null) || fail "--$1=$(quoted "$text") has a quote that is not closed"
  mapfile -t words <<<"$lines"
}

dry_run() { [[ -n ${given[dry-run]:-} ]]; }

# quoted ARGUMENT ...: print the arguments, quoted for the shell.
quoted() {
  local text
  printf -v text '%q ' "$@"
  printf '%s\n' "${text% }"
}

# run COMMAND ...: run the command, or print it in a dry run.
run() {
  if dry_run; then quoted "$@"; else "$@"; fi
}

# need_name NAME: the option must be a valid name of a cloud resource.
need_name() {
  need "$1"
  [[ ${given[$1]} =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
    fail "--$1=$(quoted "${given[$1]}") must be at most 40 lower-case letters, digits and -, and begin with a letter"
}

# confirm WHAT: continue only if the user types yes or gave --yes. WHAT is shown in any case.
confirm() {
  local answer=
  if dry_run; then
    echo "# $*"
  elif [[ -n ${given[yes]:-} ]]; then
    say "$*"
  else
    printf '%s Type yes to continue: ' "$*" >&2
    read -r answer || true
    [[ $answer == yes ]] || fail "not confirmed; nothing was done; type yes, or give --yes"
  fi
}
