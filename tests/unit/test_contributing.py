"""The worked examples of CONTRIBUTING.md, put into a copy of the package as they stand there, and used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toys import write_toy

HEADINGS = ("A loss", "A strategy", "A retriever", "A teacher", "An architecture", "A stage", "A section of the report")


def code_of(text: str, heading: str) -> list[str]:
    section = re.split(r"^### ", text, flags=re.M)
    (own,) = [part for part in section if part.startswith(f"{heading}\n")]
    return re.findall(r"^```python\n(.*?)^```", own, flags=re.M | re.S)


@pytest.fixture(scope="module")
def package(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and all examples in it, one file each."""
    folder = tmp_path_factory.mktemp("contributing")
    shutil.copytree(root / "rd_utils", folder / "rd_utils", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "params").mkdir()
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (function, entry) = code_of(text, "A loss")
    losses = folder / "rd_utils" / "training" / "losses.py"
    before, start, after = losses.read_text(encoding="utf-8").partition("LOSSES: dict[str, Loss] = {\n")
    losses.write_text(f"{before}\n{function}\n\n{start}{entry}{after}", encoding="utf-8")
    for heading, name in (
        ("A strategy", "mining/strategies"), ("A retriever", "mining/retrievers"), ("A teacher", "scoring/teacher_kinds"),
        ("An architecture", "models/architectures"),
    ):  # fmt: skip
        (code,) = code_of(text, heading)
        with (folder / "rd_utils" / f"{name}.py").open("a", encoding="utf-8") as file:
            file.write(f"\n\n{code}")
    for heading, name in (("A stage", "stages/overlap"), ("A section of the report", "report/sections/hardest_queries")):
        (code,) = code_of(text, heading)
        (folder / "rd_utils" / f"{name}.py").write_text(code, encoding="utf-8")
    write_toy(folder / "toy")
    return folder


def run(package: Path, code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(package), "RD_OUTPUTS": str(package / "outputs")}
    done = subprocess.run([sys.executable, "-c", code], cwd=package, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


BUILT = """
import numpy as np
from rd_utils.cost import workload
from rd_utils.study import params
from rd_utils.study.graph import tokenizer_of
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked
from rd_utils.store import Store

bm25 = {"kind": "bm25", "stemmer": "none", "stopwords": "none"}
values = {
    "collection": {"source": "folder", "path": "toy", "split": "train"},
    "strategy": {"kind": "evenly_spaced", "retriever": {"kind": "fused", "retrievers": [bm25, bm25 | {"b": 0.1}]}, "depth": 5},
    "shortage": "corpus_random",
    "group_size": 3,
    "teacher": "word_overlap",
    "losses": {"hinge": {}},
    "architecture": {"kind": "projected_bi", "dimension": 4, "projected": 3},
    "training": {"documents": 12, "queries_per_batch": 2},
}
spec = params.parse(params.TrainParameters, values, "parameters").student("hinge", 0)
pipeline, collection, architecture = Pipeline(track=untracked), spec.groups.collection, spec.architecture
scores = pipeline.group_scores(params.ScoresSpec(groups=spec.groups, teacher=spec.teacher))
print(sorted(set(np.round(scores.ravel(), 3).tolist())))
student = pipeline.student(spec)
vectors = student.encode(pipeline.tokens("docs", collection, tokenizer_of(architecture, collection)), kind="document")
sizes = sum(weights.numel() for weights in student.parameters()), architecture.parameters(len(student.vocabulary()))
print(vectors.shape[1], sizes[0] == sizes[1])
pool = spec.groups.strategy.pool_of(collection)
print(pipeline.run(pool).scores.max().round(5), pool.retriever.label)
counter = workload.Counter(workload.Known(Store()))
from rd_utils.stages.overlap import OverlapSpec
overlap = OverlapSpec(groups=spec.groups)
shares, kept = pipeline.open(overlap), Pipeline(track=untracked).open(overlap)
print(shares.shape == scores.shape, np.array_equal(shares, kept), sorted(set(shares.ravel().tolist())))
print(all(counter.work(one).cpu_seconds >= 0 for one in (spec, spec.groups, pool, overlap)))
"""


def test_a_student_is_trained_by_the_examples_and_a_stage_of_theirs_is_kept(package):
    scores, sizes, best, overlap, priced = run(package, BUILT).splitlines()
    assert scores == "[0.0, 0.5, 1.0]" and sizes == "3 True" and best == f"{round(2 / 61, 5)} fused" and priced == "True"
    assert overlap == "True True [0.0, 0.5, 1.0]"


def test_a_section_of_the_examples_is_found_in_its_place(package):
    names = run(package, "from rd_utils.report import sections; print(*sections.files())").split()
    assert names.index("hardest_queries") > names.index("what_was_run")


def test_a_measure_of_the_examples_is_computed_as_it_is(root):
    from rd_utils.evaluation.measures import try_measures

    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (names,) = re.findall(r"`measures: (\[.*?\])`", text)
    assert len(try_measures(tuple(re.findall(r'"(.*?)"', names)))) == 2


def test_every_example_is_tried(root):
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (An? .*)$", text, flags=re.M) == [*HEADINGS, "A measure"]
