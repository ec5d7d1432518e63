#!/usr/bin/env bash
# A swarm as one SLURM job: the server on the first node, a particle in each task, wherever SLURM places it.
#
#   sbatch --ntasks=4 deploy/slurm-swarm.sh configs/swarm/quickstart.yaml [key=value ...]
#
# The same command again goes on with an unfinished swarm of this configuration, and so does SLURM after a requeue.
# Folder, data and output must be on a file system that all nodes see under the same path.
#SBATCH --job-name=actrec-swarm
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --mem-per-cpu=4G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=B:INT@180
#SBATCH --output=swarm-%j.txt
set -euo pipefail

config=${1:?give the configuration of a swarm, for example configs/swarm/quickstart.yaml}
shift
python=${PYTHON:-.venv/bin/python}
particles=${SLURM_NTASKS:?start this with sbatch}
workers=${SLURM_CPUS_PER_TASK:-1}
log=$(mktemp "${SLURM_SUBMIT_DIR:-.}/swarm-${SLURM_JOB_ID:-0}-server-XXXXXX.txt")
token=$(head -c 24 /dev/urandom | base64 | tr -d '/+=')

# The address of the server is told to the particles by server.json in the swarm's directory.
"$python" -u swarm_server.py --config "$config" --particles "$particles" --resume latest "$@" \
  swarm.launcher=manual swarm.host=0.0.0.0 swarm.port=0 swarm.token="$token" >"$log" 2>&1 &
server=$!
players=
# SLURM is about to end the job: the server stops the particles after their checkpoints.
trap 'kill -INT "$server" 2>/dev/null || true' INT TERM
trap 'kill "$server" $players 2>/dev/null || true' EXIT

directory=
for _ in $(seq 300); do
  directory=$(sed -n 's/.*start .* --swarm \(.*\) --particle 1 .*/\1/p' "$log" | head -n 1)
  [ -n "$directory" ] && break
  if ! kill -0 "$server" 2>/dev/null; then # an error, or the swarm had finished already
    code=0
    wait "$server" || code=$?
    cat "$log"
    exit "$code"
  fi
  sleep 1
done
if [ -z "$directory" ]; then
  echo "the server of the swarm has not begun within 300 s; see $log" >&2
  exit 1
fi
sed -n '/page: /p' "$log"
echo "swarm: $directory; the page's token: $token"

# A particle that dies is started again, as often as SLURM lets the job run: it goes on from its last round.
export python directory workers
# shellcheck disable=SC2016 # the variables are for the shell of each task
srun --ntasks="$particles" --kill-on-bad-exit=0 bash -c '
  for attempt in 1 2 3 4 5; do
    code=0
    "$python" -m keras_actrec.swarm.particle --swarm "$directory" --particle "$((SLURM_PROCID + 1))" \
      --workers "$workers" || code=$?
    # 0: finished; 1: it has said why it cannot go on, or was stopped; else it was killed, or memory or a disk failed
    [ "$code" -le 1 ] && exit "$code"
    sleep $((5 * attempt))
  done
  exit "$code"' &
players=$!

code=0
wait "$server" || code=$?
while kill -0 "$server" 2>/dev/null; do # the wait was ended by a signal, not by the server
  code=0
  wait "$server" || code=$?
done
wait "$players" || true
players=
cat "$log"
exit "$code"
