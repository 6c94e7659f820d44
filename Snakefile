"""Every node of a study's plan is one papermill run of one notebook, and every notebook has a rule, which all do the same.

    rd run params/embedded.yaml --cores 2
    rd run params/embedded.yaml --profile slurm

It runs in the project's root. A notebook is the project's own where it has one of that name, else the suite's.

A node's executed notebook is its output, and appears only when the run has ended well. What a node makes lies in the store under
identities of its own, so a node that is run again after an interruption makes only what is missing. Runs that need the same nodes take
turns. Where this process ends, its nodes do, but for those that a cluster executes.
"""

import os
from pathlib import Path

from rd_utils import kernels
from rd_utils.store import outputs_root, project_root, shipped
from rd_utils.study import node_files, nodes
from rd_utils.study import plan as planning
from rd_utils.workflow import turns
from snakemake.exceptions import WorkflowError

STUDY = config.get("study", "params/embedded.yaml")
BASE = config.get("base") or ""  # another base than the study's own
if workflow.is_main_process or "RD_NODES" not in os.environ:  # Snakemake reads this file again for every job; the plan is the same
    try:
        PLAN = planning.load_plan(STUDY, BASE or None)
        if workflow.is_main_process:
            if not workflow.non_local_exec:
                kernels.begin_run()
            TURN = turns.begin(PLAN, wait=not workflow.dryrun)
        os.environ["RD_NODES"] = str(node_files.write_nodes(PLAN))
    except turns.REFUSALS as error:
        raise WorkflowError(turns.told(error))
NODES = node_files.read_nodes(os.environ["RD_NODES"])
FOLDER = str(node_files.node_folder("{node}"))
OUTPUTS = str(outputs_root())
WITHIN = "notebooks" if (project_root() / "notebooks").is_dir() else "."  # where kernels work, so that they find the project's root


def near(path):
    """Return a path as the working folder sees it where it lies inside: a job on another machine may have it elsewhere."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


# glibc gives every large activation back to the kernel and faults it in again each step, unless told to keep big blocks; and it keeps the
# few bytes that aligning a block cuts off for small requests, so that the block is not whole again when it is free and the heap grows.
MALLOC = "glibc.malloc.tcache_count=0:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296:glibc.malloc.top_pad=67108864"
THREADS = int(config.get("threads", 1))
FORKED = workflow.is_main_process and str(config.get("nursery", 1)) != "0"  # nodes fork from a process that has imported already
NURSERY = []


onstart:
    if FORKED and not workflow.non_local_exec:  # a cluster's jobs start on other machines, and plainly
        threads = min(THREADS, workflow.resource_settings.cores or THREADS)
        NURSERY.append(kernels.start(os.environ | kernels.node_environment(threads, MALLOC), cwd=WITHIN))


onsuccess:
    kernels.stop(*NURSERY)
    TURN.leave()


onerror:
    kernels.stop(*NURSERY)
    TURN.leave()


def upstream(wildcards):
    return [ancient(FOLDER.format(node=node) + "/notebook.ipynb") for node in NODES[wildcards.node].needs]


rule study:
    localrule: True
    input:
        [FOLDER.format(node=node) + "/notebook.ipynb" for node in NODES],
    shell:
        "python -m rd_utils publish {STUDY:q} --base={BASE:q}"


# A rule a notebook, named after its stage, so that a profile can say what each stage asks for (set-resources: train: gpu: 1).
for notebook in nodes.NOTEBOOKS:

    rule:
        name:
            nodes.stage_of(notebook)
        input:
            upstream,
        output:
            notebook=FOLDER + "/notebook.ipynb",
        params:
            notebook=near(shipped(f"notebooks/{notebook}.ipynb")),
            command=near(Path(kernels.__file__)),
            folder=FOLDER,
            name=lambda wildcards: NODES[wildcards.node].name,
        log:
            FOLDER + "/log.txt",
        message:
            "{params.name}"
        wildcard_constraints:
            node=f"{notebook}-[0-9a-f]+",
        threads: THREADS
        shell:
            "export RD_NODE={wildcards.node} RD_OUTPUTS={OUTPUTS:q} OMP_NUM_THREADS={threads} GLIBC_TUNABLES={MALLOC} TOKENIZERS_PARALLELISM=false; "
            "python -S -P {params.command:q} --node {params.folder:q} {output.notebook:q} {log:q} {params.notebook:q} "
            "-f {params.folder:q}/parameters.yaml --cwd {WITHIN} --log-output --no-progress-bar"
