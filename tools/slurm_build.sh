#!/usr/bin/env bash
# A corpus on a Slurm cluster, with nothing shared but the folder of the corpus and that of the data sets:
#
#     sbatch --array=0-63 tools/slurm_build.sh --sources celeba,vggface2 --root /data/raw --out /data/corpus
#
# Every task does its share of a phase and queues again while other tasks are at theirs (exit status 75). A task
# that is preempted or killed loses the unit it was at. When all have ended with 0, the corpus is verified.
#SBATCH --job-name=facecorpus
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
facecorpus build --engine array --workers "${SLURM_CPUS_PER_TASK:-1}" --no-report "$@"
status=$?
if [ "$status" -eq 75 ]; then
    sleep 30
    exec scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$status"
