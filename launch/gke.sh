#!/usr/bin/env bash
# A run on a TPU slice of a GKE cluster, as a JobSet: one pod per host.
#
#   launch/gke.sh run    --name=N --image=IMAGE --accelerator=tpu-v5-lite-podslice --topology=4x4 --hosts=4 --chips=4
#                        --claim=C [--spot] [--restarts=10] [--namespace=S]
#                        -- --config=configs/cifar10.py --workdir=/mnt/runs/cifar10 [flags of diffenc_jax.main]
#   launch/gke.sh status --name=N [--namespace=S]
#   launch/gke.sh tail   --name=N [--namespace=S]      output of the first host; Ctrl-C does not stop the run
#   launch/gke.sh stop   --name=N [--namespace=S]      the run saves and ends; the same run command resumes it
#   launch/gke.sh delete --name=N [--namespace=S] [--yes]
#
# All actions accept --dry-run, which prints the manifest and the commands and runs none. kubectl must be set up for the
# cluster, and JobSet (jobset.sigs.k8s.io) must be installed there. IMAGE contains 'diffenc_jax[tpu]', and configuration
# files of your own in its working folder. --chips is the number of TPU chips per host.
#
# C is a PersistentVolumeClaim that all hosts can write to: Filestore, or a bucket through the Cloud Storage FUSE driver
# (with a hierarchical namespace, which renames folders atomically). It is mounted at /mnt/runs, which must contain the
# workdir. When a pod ends early, for example on a preempted spot slice, JobSet restarts all pods, at most --restarts
# times, and the run resumes from its last checkpoint.

set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

main() {
  local action=${1:-}
  case $action in
    run)
      given=([restarts]=10)
      shift && parse "name= namespace= image= accelerator= topology= hosts= chips= claim= spot restarts=" "$@"
      need image accelerator topology hosts chips claim
      need_number hosts chips restarts
      need_flag config configs/cifar10.py
      need_flag workdir /mnt/runs/cifar10
      ;;
    status | tail | stop) shift && parse "name= namespace=" "$@" ;;
    delete) shift && parse "name= namespace= yes" "$@" ;;
    --help)
      usage
      exit
      ;;
    *) fail "unknown action $(quoted "$action"); known: run, status, tail, stop, delete; see $0 --help" ;;
  esac
  need_name name
  [[ $action == run ]] || ((${#rest[@]} == 0)) || fail "$action takes nothing after --"
  name=${given[name]}
  where=(${given[namespace]:+--namespace="${given[namespace]}"})
  need_program kubectl "install it, and gcloud container clusters get-credentials"
  "do_$action"
}

do_run() {
  if dry_run; then
    manifest
    run kubectl apply "${where[@]}" --filename=-
  else
    manifest | kubectl apply "${where[@]}" --filename=-
  fi
}

do_status() {
  run kubectl get jobset "$name" "${where[@]}"
  run kubectl get pods "${where[@]}" --selector="jobset.sigs.k8s.io/jobset-name=$name" --output=wide
}

do_tail() {
  local first="jobset.sigs.k8s.io/jobset-name=$name,batch.kubernetes.io/job-completion-index=0"
  run kubectl logs "${where[@]}" --selector="$first" --tail=50 --follow
}

# A suspended JobSet has no pods; applying the manifest again resumes it.
do_stop() {
  run kubectl patch jobset "$name" "${where[@]}" --type=merge '--patch={"spec":{"suspend":true}}'
}

do_delete() {
  confirm "This ends the run of $name and deletes its JobSet; the files on the claim stay."
  run kubectl delete jobset "$name" "${where[@]}"
}

# Strings are written as JSON, which is valid YAML. JAX finds the hosts by variables that GKE sets in TPU pods.
manifest() {
  cat <<END
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $(json "$name")
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  suspend: false
  failurePolicy:
    maxRestarts: ${given[restarts]}
  replicatedJobs:
  - name: slice
    replicas: 1
    template:
      spec:
        parallelism: ${given[hosts]}
        completions: ${given[hosts]}
        completionMode: Indexed
        backoffLimit: 0
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 120
            nodeSelector:
              cloud.google.com/gke-tpu-accelerator: $(json "${given[accelerator]}")
              cloud.google.com/gke-tpu-topology: $(json "${given[topology]}")
$(spot)
            containers:
            - name: diffenc
              image: $(json "${given[image]}")
              command:
$(command_items python -m diffenc_jax.main --distributed "${rest[@]}")
              resources:
                limits:
                  google.com/tpu: ${given[chips]}
              volumeMounts:
              - name: runs
                mountPath: /mnt/runs
            volumes:
            - name: runs
              persistentVolumeClaim:
                claimName: $(json "${given[claim]}")
END
}

spot() {
  if [[ -z ${given[spot]:-} ]]; then return; fi
  cat <<END
              cloud.google.com/gke-spot: "true"
            tolerations:
            - key: cloud.google.com/gke-spot
              operator: Equal
              value: "true"
              effect: NoSchedule
END
}

# Kubernetes expands \$(NAME) in a command, and reads \$\$ as a dollar.
command_items() {
  local word
  for word; do
    printf '              - %s\n' "$(json "${word//'$'/'$$'}")"
  done
}

# json TEXT: print TEXT as a JSON string.
json() {
  local text=$1 backslash=$'\\' quote=$'\"'
  text=${text//"$backslash"/"$backslash$backslash"}
  text=${text//"$quote"/"$backslash$quote"}
  text=${text//$'\n'/"${backslash}n"}
  text=${text//$'\t'/"${backslash}t"}
  printf '"%s"' "$text"
}

main "$@"
