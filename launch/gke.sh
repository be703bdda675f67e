#!/usr/bin/env bash
# A run on a TPU slice of a GKE cluster, as a JobSet: one pod per host.
#
#   launch/gke.sh run    --name=N --image=IMAGE --accelerator=tpu-v5-lite-podslice --topology=4x4 --hosts=4 --chips=4
#                        [--slices=1] [--service-account=A] [--claim=C] [--spot] [--restarts=10] [--namespace=S] [--yes]
#                        -- --config=configs/cifar10.py --workdir=gs://B/cifar10 [flags of diffenc_jax.main]
#   launch/gke.sh status --name=N [--namespace=S]
#   launch/gke.sh tail   --name=N [--namespace=S]      output of the first host; Ctrl-C does not stop the run
#   launch/gke.sh logs   --name=N [--namespace=S] [--to=logs/N]   fetch the output of all hosts, one file each
#   launch/gke.sh stop   --name=N [--namespace=S]      the run saves and ends; the same run command resumes it
#   launch/gke.sh delete --name=N [--namespace=S] [--yes]
#
# --yes answers the question before something is created or deleted. All actions accept --dry-run, which prints the
# manifest and the commands and runs none. --hosts is the number of hosts per slice, --chips that of TPU chips per host.
# Several slices train as one: only the data axis runs between them.
#
# The cluster needs the JobSet controller (jobset.sigs.k8s.io), and a node pool per slice with the given accelerator and
# topology; TPU7x pools also need a workload policy. kubectl must be set up for it. On TPU nodes GKE tells JAX the hosts
# by variables of the pods; elsewhere on Kubernetes, as on GPU nodes, JAX needs the extra jax[k8s].
#
# IMAGE is what the Dockerfile of this repository makes, from the versions that requirements/lock-tpu.txt pins:
#
#   docker build --build-arg=EXTRA=tpu --tag=IMAGE . && docker push IMAGE
#
# Every restart of a pod then has the same versions. Build it with configuration files of your own in configs/. An image
# with parts of your own is made from it, by FROM IMAGE and COPY mine.py /home/diffenc/, where runs start.
#
# The workdir is an address in a bucket, gs://B/RUN; --bucket=B in place of --workdir means gs://B/N, and gs://B/data
# for the images, --config.data.dir, unless that is given. A is the Kubernetes service account that may write there
# (Workload Identity Federation). C is a PersistentVolumeClaim that all hosts can write to, for a workdir below
# /mnt/runs, where it is mounted: Filestore, or a bucket through the Cloud Storage FUSE driver, with a hierarchical
# namespace and the mount options implicit-dirs, metadata-cache:ttl-secs:0, metadata-cache:stat-cache-max-size-mb:0,
# metadata-cache:type-cache-max-size-mb:0 and file-system:kernel-list-cache-ttl-secs:0.
#
# When a pod ends early, for example on a preempted spot slice, JobSet restarts all pods, at most --restarts times, and
# the run resumes from its last checkpoint.

set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

main() {
  local action=${1:-} machines="image= accelerator= topology= hosts= chips= slices= spot"
  case $action in
    run)
      given=([restarts]=10 [slices]=1)
      shift && parse "name= namespace= $machines service-account= bucket= claim= restarts= yes" "$@"
      need image accelerator topology hosts chips
      need_number hosts chips slices restarts
      need_flag config configs/cifar10.py
      ;;
    status | tail | stop) shift && parse "name= namespace=" "$@" ;;
    logs) shift && parse "name= namespace= to=" "$@" ;;
    delete) shift && parse "name= namespace= yes" "$@" ;;
    --help)
      usage
      exit
      ;;
    *) fail "unknown action $(quoted "$action"); known: run, status, tail, logs, stop, delete; see $0 --help" ;;
  esac
  need_name name
  [[ $action == run ]] || ((${#rest[@]} == 0)) || fail "$action takes nothing after --"
  name=${given[name]}
  where=(${given[namespace]:+--namespace="${given[namespace]}"})
  if [[ $action == run ]]; then need_workdir; fi
  need_program kubectl "install it, and gcloud container clusters get-credentials"
  "do_$action"
}

need_workdir() {
  default_workdir
  need_flag workdir gs://BUCKET/cifar10
  [[ $(flag workdir) == gs://* || -n ${given[claim]:-} ]] ||
    fail "--workdir=$(flag workdir) is in a pod, whose files are lost with it; give gs://BUCKET/..., or --claim"
}

do_run() {
  confirm "$(cost)"
  if dry_run; then
    manifest
    run kubectl apply "${where[@]}" --filename=-
  else
    manifest | kubectl apply "${where[@]}" --filename=-
  fi
}

# cost: print what the run occupies, and for how long it costs money.
cost() {
  local hosts=$((given[slices] * given[hosts])) spot="not spot"
  if [[ -n ${given[spot]:-} ]]; then spot="spot"; fi
  echo "$name: $((hosts * given[chips])) TPU chips on $hosts hosts (${given[accelerator]} ${given[topology]}, $spot)," \
    "which cost money from the creation of their nodes until the nodes are deleted."
}

do_status() {
  run kubectl get jobset "$name" "${where[@]}"
  run kubectl get pods "${where[@]}" --selector="$(of_this_set)" --output=wide
}

of_this_set() { echo "jobset.sigs.k8s.io/jobset-name=$name"; }

do_tail() {
  local first
  first="$(of_this_set),jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=0"
  run kubectl logs "${where[@]}" --selector="$first" --tail=50 --follow
}

do_logs() {
  local folder=${given[to]:-logs/$name} pods pod
  run mkdir -p "$folder"
  if dry_run; then
    list_pods
    echo "# for each POD:" && run kubectl logs "${where[@]}" POD
    return
  fi
  pods=$(list_pods)
  for pod in $pods; do
    kubectl logs "${where[@]}" "$pod" >"$folder/${pod##*/}.log"
  done
  echo "the output of each host is in $folder"
}

list_pods() { run kubectl get pods "${where[@]}" --selector="$(of_this_set)" --output=name; }

# A suspended JobSet has no pods; applying the manifest again resumes it.
do_stop() {
  run kubectl patch jobset "$name" "${where[@]}" --type=merge '--patch={"spec":{"suspend":true}}'
}

do_delete() {
  confirm "This ends the run of $name and deletes its JobSet; the files of the run stay."
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
    replicas: ${given[slices]}
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
$(service_account)
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
$(volume)
END
}

service_account() {
  local account=${given[service-account]:-}
  if [[ -n $account ]]; then echo "            serviceAccountName: $(json "$account")"; fi
}

# The image's user belongs to the group 1000, to which the files of the volume are given.
volume() {
  if [[ -z ${given[claim]:-} ]]; then return; fi
  cat <<END
              volumeMounts:
              - name: runs
                mountPath: /mnt/runs
            securityContext:
              fsGroup: 1000
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
