"""The documented collection: what is read of packages, what gives an answer away and is removed, and what the locked versions give."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from rd_utils.cost import workload
from rd_utils.data import collections, documented, leakage
from rd_utils.data.collections import CollectionError
from rd_utils.store import Store, StoreError, check_outside, identity, one_look
from rd_utils.study import checks, params, plan
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked

ROOT = Path(__file__).resolve().parents[3]
TASKS = ("code_search", "see_also")
BODY = "    b = a + {0}\n    return b * {0}\n"  # two statements
LONG = "It has more to say than the ten words that are needed of a documentation."


def of_split(split: str) -> list[str]:
    """Return folders of a package ``tiny`` whose modules are of a split."""
    names = (f"part{number}" for number in itertools.count())
    return list(itertools.islice((name for name in names if documented.split_of(f"tiny.{name}") == split), 3))


TRAIN, TEST = of_split("train"), of_split("test")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Write a package of these files; return its public functions."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(files: dict[str, str]) -> tuple[documented.Function, ...]:
        for name, text in files.items():
            path = tmp_path / "tiny" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            (tmp_path / "tiny" / "__init__.py").touch()
        importlib.invalidate_caches()
        documented.functions_of.cache_clear()
        return documented.functions_of("tiny", "1")[0]

    yield write
    documented.functions_of.cache_clear()


def function(name: str, documentation: str, number: int = 1, head: str = "(a)") -> str:
    return f'def {name}{head}:\n    """{documentation}"""\n{BODY.format(number)}\n'


def asked(made: documented.Made, split: str = "train") -> dict[str, list[str]]:
    """Return the documents that answer each text."""
    texts = made.queries[split].set_index("query_id")["text"]
    return {texts[query_id]: part["doc_id"].tolist() for query_id, part in made.qrels[split].groupby("query_id", sort=False)}


# --- which functions --------------------------------------------------------------------------------------------------------------


def test_functions_are_public_and_documented_where_they_are_defined(tiny):
    listed = '__all__ = ["listed"]\n' + function("listed", "Is public.") + function("unlisted", "Is none.")
    found = tiny(
        {
            "__init__.py": "from ._hidden import exported\nfrom .open import shown as alias\n",
            "open.py": function("shown", "Is public.") + function("_own", "Begins with an underscore.") + "def bare(a):\n    return a\n",
            "listed.py": listed,
            "_hidden.py": function("exported", "Is imported by name.") + function("kept", "Is not."),
            "_also.py": listed,
            "alias.py": "from .open import shown\nother = shown\n",
            "methods.py": "class A:\n    " + function("method", "Is no function.").replace("\n", "\n    "),
            "twice.py": function("again", "Is defined before.") + function("again", "Is defined last.", 2),
            "tests/test_open.py": function("test_it", "Is a test."),
            "externals/other.py": function("foreign", "Is of others."),
            "broken.py": "def broken(:\n",
        }
    )
    assert [one.id for one in found] == [
        "tiny._also.listed", "tiny._hidden.exported", "tiny.listed.listed", "tiny.open.shown", "tiny.twice.again",
    ]  # fmt: skip
    assert found[-1].documentation == "Is defined last." and "a + 2" in found[-1].code
    assert documented.functions_of("tiny", "1")[1] == 1


def test_nothing_of_a_package_runs(tiny):
    assert len(tiny({"loud.py": "raise SystemExit\n" + function("quiet", "Is read.")})) == 1
    assert "tiny" not in sys.modules and not [name for name in sys.modules if name.startswith("tiny.")]


def test_the_standard_library_is_read_without_tests_programs_and_tables():
    modules = [source.module for source in documented.sources_of("python")]
    assert modules == sorted(modules) and {"statistics", "json.decoder", "concurrent.futures.thread"} <= set(modules)
    tops = {module.split(".")[0] for module in modules}
    assert not tops & {"test", "idlelib", "lib2to3", "encodings", "turtledemo", "site-packages", "_pydecimal", "tkinter"}
    assert {source.unit for source in documented.sources_of("python") if source.module.startswith("json")} == {"json"}


def test_code_has_no_docstring_comment_decorator_or_name(tiny):
    text = '''
@cached("total")
def total(a, start=0):  # adds
    """Add all.

    More.
    """
    # a comment

    text = "# no comment: total" + \'\'\'#
    neither\'\'\'

    def inner(x):
        "Say it again."
        return totals(x)
    return total(a[1:], start) if a else inner(start)
'''
    (found,) = tiny({"sums.py": text})
    assert found.code == (
        "def _(a, start=0):\n    text = \"# no comment: _\" + '''#\n    neither'''\n    def inner(x):\n        return totals(x)\n"
        "    return _(a[1:], start) if a else inner(start)"
    )
    assert found.statements == 5  # two of the inner function, whose docstring is one


# --- code search ------------------------------------------------------------------------------------------------------------------


def test_a_sentence_asks_for_its_code_alone(tiny):
    made = documented.code_search(tiny({f"{TRAIN[0]}/a.py": function("one", "Scale and shift a number. Then more.\n\n    Notes", 1)}))
    assert made.docs.values.tolist() == [[f"tiny.{TRAIN[0]}.a.one", "def _(a):\n    b = a + 1\n    return b * 1"]]
    assert asked(made) == {"Scale and shift a number.": [f"tiny.{TRAIN[0]}.a.one"]}
    assert re.fullmatch(rf"[0-9a-f]{{4}}-tiny\.{TRAIN[0]}\.a\.one", made.queries["train"]["query_id"][0])
    assert asked(made, "test") == {} and made.functions == 1 and not any(made.dropped.values())


@pytest.mark.parametrize(
    ("documentation", "sentence"),
    [
        ("one(a, b=(1, 2)) -> int\n\n    Scale and shift a number.", "Scale and shift a number."),
        ("one(a)\n    Scale and shift a number.", "Scale and shift a number."),
        ("Scale ``a`` by :func:`~np.dot`, e.g. twice.", "Scale a by np.dot, e.g. twice."),
        ("Scale and shift\n    a number\n\n    Then more.", "Scale and shift a number"),
        ("Call one(a) to scale a number.", None),  # a signature within
        ("Scale it.", None),
        (".. deprecated:: 1.0 and later of this package", None),
        (" ".join(["word"] * 41), None),
    ],
)
def test_a_sentence_has_4_to_40_words_and_no_signature(tiny, documentation, sentence):
    made = documented.code_search(tiny({f"{TRAIN[0]}/a.py": function("one", documentation)}))
    assert list(asked(made)) == ([sentence] if sentence else []) and len(made.docs) == 1


def test_a_sentence_that_the_code_says_asks_for_nothing(tiny):
    text = 'def one(a):\n    """Scale and shift a number."""\n    help = "{}"\n    return a, help\n'
    said, unsaid = (
        documented.code_search(tiny({f"{TRAIN[0]}/a.py": text.format(words)}))
        for words in ("It can scale, AND shift a number", "Scale a number and shift it")
    )
    assert asked(said) == {} and said.dropped["sentences_that_the_code_repeats"] == 1 and len(said.docs) == 1
    assert len(asked(unsaid)) == 1 and unsaid.dropped["sentences_that_the_code_repeats"] == 0


def test_one_code_is_one_document_and_two_splits_have_none_in_common(tiny):
    one, same = function("one", "Scale and shift a number."), function("same", "Do it another way round.")
    other = function("other", "Multiply it with two numbers.", 2)
    made = documented.code_search(tiny({f"{TRAIN[0]}/a.py": one + same, f"{TRAIN[1]}/b.py": other}))
    doc_id = f"tiny.{TRAIN[0]}.a.one"
    assert made.docs["doc_id"].tolist() == [doc_id, f"tiny.{TRAIN[1]}.b.other"]
    assert asked(made) == {
        "Scale and shift a number.": [doc_id],
        "Do it another way round.": [doc_id],
        "Multiply it with two numbers.": [f"tiny.{TRAIN[1]}.b.other"],
    }
    assert made.queries["train"]["query_id"].is_unique and made.dropped["functions_of_one_code_merged"] == 1
    made = documented.code_search(tiny({f"{TRAIN[0]}/a.py": one, f"{TRAIN[1]}/b.py": other, f"{TEST[0]}/c.py": same}))
    assert made.docs["doc_id"].tolist() == [f"tiny.{TRAIN[1]}.b.other"] and list(asked(made)) == ["Multiply it with two numbers."]
    assert made.dropped["functions_of_one_code_in_several_splits"] == 2


def test_a_sentence_of_up_to_three_functions_of_one_split_has_several_positives(tiny):
    def several(*places: str) -> documented.Made:
        sources = {f"{place}/a{number}.py": function(f"f{number}", "Plot the whole result.", number) for number, place in enumerate(places)}
        return documented.code_search([one for one in tiny(sources) if any(f".{place}." in one.id for place in places)])

    made = several(TRAIN[0], TRAIN[0], TRAIN[1])
    assert [len(found) for found in asked(made).values()] == [3]
    made = several(TRAIN[2], TEST[0])
    assert asked(made) == {} and asked(made, "test") == {} and made.dropped["sentences_of_several_functions"] == 2
    assert len(made.docs) == 2  # they stay as documents


def test_a_sentence_of_four_functions_is_a_template(tiny):
    made = documented.code_search(tiny({f"{TRAIN[0]}/a.py": "".join(function(f"f{n}", "Plot the whole result.", n) for n in range(4))}))
    assert asked(made) == {} and made.dropped["sentences_of_several_functions"] == 4 and len(made.docs) == 4


def test_a_code_of_one_statement_is_no_document(tiny):
    made = documented.code_search(tiny({f"{TRAIN[0]}/a.py": 'def one(a):\n    """Scale and shift a number."""\n    return a\n'}))
    assert made.docs.empty and made.dropped["functions_too_short"] == 1


# --- see also ---------------------------------------------------------------------------------------------------------------------

REFERS = (
    "{0} is what it does. " + LONG + "\n\n    See Also\n    --------\n    {1} : Another one.\n        As {0} does."
    "\n\n    Notes\n    -----\n    Of {0}."
)


def pair(one: str = TRAIN[0], other: str = TRAIN[0], refers: str = "other", **more: str) -> dict[str, str]:
    return {
        f"{one}/a.py": function("one", REFERS.format("This", refers)),
        f"{other}/b.py": function("other", f"Another. {LONG}", 2),
    } | more


def test_a_documentation_asks_for_what_it_refers_to(tiny):
    made = documented.see_also(tiny(pair()))
    text = f"This is what it does. {LONG}\n\nNotes\n-----\nOf This."
    assert asked(made) == {text: [f"tiny.{TRAIN[0]}.b.other"]}
    assert made.docs.values.tolist() == [[f"tiny.{TRAIN[0]}.b.other", f"Another. {LONG}"]]  # a query is no document


@pytest.mark.parametrize("refers", ["tiny.b.other", f"{TRAIN[0]}.other", "other, nothing", ":func:`~tiny.other`", "`other`"])
def test_a_name_is_found_whatever_way_it_is_said(tiny, refers):
    assert [found for found in asked(documented.see_also(tiny(pair(refers=refers)))).values()] == [[f"tiny.{TRAIN[0]}.b.other"]]


@pytest.mark.parametrize("refers", ["nothing", "numpy.other", "tiny.c.other", "one"])
def test_a_name_of_nothing_here_is_counted(tiny, refers):
    made = documented.see_also(tiny(pair(refers=refers)))
    assert asked(made) == {} and len(made.docs) == 2 and made.dropped["references_to_no_function_here"] == 1


def test_of_several_functions_of_a_name_the_nearest_is_meant_and_of_two_as_near_none(tiny):
    more = {f"{TRAIN[1]}/b.py": function("other", f"A third. {LONG}", 3)}
    assert list(asked(documented.see_also(tiny(pair() | more))).values()) == [[f"tiny.{TRAIN[0]}.b.other"]]
    made = documented.see_also(tiny(pair() | more | {f"{TRAIN[0]}/c.py": function("other", f"A fourth. {LONG}", 4)}))
    assert asked(made) == {} and made.dropped["references_to_no_function_here"] == 1


def test_a_query_with_a_positive_in_another_split_is_left_out(tiny):
    made = documented.see_also(tiny(pair(other=TEST[0])))
    assert asked(made) == {} and made.dropped["queries_with_a_positive_in_another_split"] == 1 and len(made.docs) == 2
    made = documented.see_also([one for one in tiny(pair(other=TRAIN[1])) if TEST[0] not in one.id])
    assert list(asked(made).values()) == [[f"tiny.{TRAIN[1]}.b.other"]]  # another module of the same split


def test_of_two_that_refer_to_each_other_one_is_the_query(tiny):
    both = function("one", REFERS.format("This", "other")) + function("other", REFERS.format("That", "one"), 2)
    made = documented.see_also(tiny({f"{TRAIN[0]}/a.py": both}))
    assert len(made.docs) == len(made.queries["train"]) == 1 and made.dropped["queries_that_are_documents"] == 1
    assert made.docs["text"][0] != made.queries["train"]["text"][0]


def test_one_documentation_is_one_document_which_stands_for_all(tiny):
    same = {f"{TRAIN[0]}/b2.py": function("same", f"Another.  {LONG}", 3)}
    made = documented.see_also(tiny(pair(refers="same") | same))
    assert made.dropped["functions_of_one_documentation"] == 1 and list(asked(made).values()) == [[f"tiny.{TRAIN[0]}.b.other"]]
    made = documented.see_also(tiny({f"{TRAIN[0]}/b2.py": function("same", f"Yet another. {LONG}", 3)}))
    assert made.dropped["functions_of_one_documentation"] == 0 and list(asked(made).values()) == [[f"tiny.{TRAIN[0]}.b2.same"]]


def test_what_says_see_also_elsewhere_is_removed_and_what_does_not_stays():
    text = "Sum.\n\n.. seealso::\n\n    mean\n\nFast, see also `a.mean`. Exact.\n\nI see, also this.\n\nSee also mean\nand std"
    assert documented.without_see_also(text) == "Sum.\n\nFast,  Exact.\n\nI see, also this."
    assert documented.without_see_also("See\n---\nAlso") == "See\n---\nAlso"


# --- the packages themselves ------------------------------------------------------------------------------------------------------

unlike = {task: documented.unlike_pinned(task) for task in TASKS}
FINGERPRINTS = {
    "code_search": "e845d3d82079ba28",
    "see_also": "5bff9dfcc854a17c",
}
COUNTS = {
    "code_search": (5029, 4192, {"train": (2273, 2321), "validation": (670, 694), "test": (957, 988)}),
    "see_also": (4196, 3068, {"train": (603, 842), "validation": (169, 258), "test": (199, 281)}),
}
BM25 = {"code_search": 0.233, "see_also": 0.739}


def locked(task: str) -> documented.Made:
    if unlike[task]:
        pytest.skip(f"literal values are of other versions: {unlike[task]}")
    return documented.make(task)


def fingerprint(made: documented.Made) -> str:
    digest = hashlib.sha256()
    for frame in (made.docs, *made.queries.values(), *made.qrels.values()):
        digest.update(frame.to_json(orient="values", force_ascii=True).encode())
    return digest.hexdigest()[:16]


def test_the_pinned_versions_are_those_of_the_lock_file():
    text = (ROOT / "constraints.txt").read_text()
    for package, version in documented.PINNED.items():
        assert package == documented.PYTHON or re.search(rf"^{package}=={re.escape(version)}\b", text, re.MULTILINE), package
    assert set(documented.PINNED) == {*documented.IMPORT_NAMES, documented.PYTHON}


@pytest.mark.parametrize("task", TASKS)
def test_locked_versions_give_the_literal_collection(task):
    made = locked(task)
    sizes = {split: (len(made.queries[split]), len(made.qrels[split])) for split in made.queries}
    assert (made.functions, len(made.docs), sizes) == COUNTS[task]
    assert fingerprint(made) == FINGERPRINTS[task]
    for split in sizes:
        assert documented.SIZES[task, split] == (len(made.docs), *sizes[split])
        assert workload.listed(params.DocumentedCollection(task=task, split=split)) == documented.SIZES[task, split]


@pytest.mark.parametrize("task", TASKS)
def test_splits_have_no_module_text_or_positive_in_common(task):
    made = documented.make(task)
    units = {one.id: one.unit for package, version in documented.installed(task) for one in documented.functions_of(package, version)[0]}
    of = {split: frame["query_id"].str.partition("-")[2].map(units) for split, frame in made.queries.items()}
    of_positives = {split: frame["doc_id"].map(units) for split, frame in made.qrels.items()}
    for split in of:
        assert {documented.split_of(unit) for unit in {*of[split], *of_positives[split]}} == {split}
    texts = [set(collections.plain_texts(frame["text"])) for frame in made.queries.values()]
    assert sum(map(len, texts)) == len(set.union(*texts)) == sum(map(len, made.queries.values()))
    assert set(pd.concat(made.qrels.values())["doc_id"]) <= set(made.docs["doc_id"]) and made.docs["doc_id"].is_unique
    assert made.docs["text"].is_unique


def test_no_sentence_stands_in_its_code_and_no_documentation_is_query_and_document():
    made = documented.make("code_search")
    docs = made.docs.set_index("doc_id")["text"]
    for split, qrels in made.qrels.items():
        sentences = made.queries[split].set_index("query_id")["text"]
        assert not [query for query, doc, _ in qrels.itertuples(index=False) if documented.repeats(docs[doc], sentences[query])]
        assert sentences.str.split().str.len().between(4, 40).all()
    made = documented.make("see_also")
    asking = pd.concat(made.queries.values())
    assert not set(asking["query_id"].str.partition("-")[2]) & set(made.docs["doc_id"])
    assert not [text for text in (*asking["text"], *made.docs["text"]) if re.search(r"(?im)^see also\n-|\bsee also\b", text)]


@pytest.mark.parametrize("task", TASKS)
def test_bm25_finds_some(task, tmp_path):
    locked(task)
    collection = params.DocumentedCollection(task=task, split="test")
    stage = params.FirstStage(kind="full", retriever=params.BM25(stemmer="english", stopwords="english"))
    spec = params.EvaluationSpec(system=params.FirstStageSystem(), collection=collection, first_stage=stage, measures=("nDCG@10",))
    pipeline = Pipeline(Store(tmp_path), track=untracked)
    pipeline.build(spec)
    assert round(pipeline.frame(spec, "per_query")["value"].mean(), 3) == BM25[task]
    manifest = pipeline.store.manifest(params.DocsSpec(collection=collection.undivided()))
    assert manifest["counts"]["functions"] == COUNTS[task][0] and "files_not_parsed" not in manifest["dropped"]
    assert manifest["content"]["package:numpy"] == documented.PINNED["numpy"]


PROGRAM = """
import sys; sys.path.insert(0, sys.argv[1])
from rd_utils.data import documented
functions = documented.functions_of("tiny", "1")[0]
for task in documented.TASKS.values():
    made = task(functions)
    print([frame.values.tolist() for frame in (made.docs, *made.queries.values(), *made.qrels.values())], made.dropped)
"""


def test_another_process_hash_seed_and_locale_give_the_same(tiny, tmp_path):
    tiny(pair() | {f"{TEST[0]}/ü.py": function("größe", f"Sagt größe von ‘Ö’ genau. {LONG}", 5), f"{TEST[0]}/Z.py": function("z", LONG, 6)})
    said = set()
    for seed, locale in (("0", "C"), ("1", "C.UTF-8")):
        surroundings = os.environ | {"PYTHONHASHSEED": seed, "LC_ALL": locale, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
        found = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], env=surroundings, capture_output=True, check=True)
        said.add(found.stdout)
    assert len(said) == 1 and "größe" in said.pop().decode()


# --- versions, and what is missing ------------------------------------------------------------------------------------------------


def other_version(monkeypatch, package: str, version: str | None) -> None:
    known = importlib.metadata.version

    def told(name: str) -> str:
        if name == package and version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version if name == package else known(name)

    monkeypatch.setattr(importlib.metadata, "version", told)


def with_only(monkeypatch, functions: tuple[documented.Function, ...]) -> None:
    """Let these be all functions there are."""
    monkeypatch.setattr(documented, "_make", lambda task, versions: documented.TASKS[task](functions))


@pytest.mark.parametrize("spec", [params.DocsSpec, params.QueriesSpec])
def test_another_version_of_a_package_is_another_identity(monkeypatch, spec):
    code, see = (spec(collection=params.DocumentedCollection(task=task)) for task in TASKS)
    embedded = spec(collection=params.EmbeddedCollection())
    candidates = params.CandidatesSpec(collection=see.collection, retriever=params.BM25(), depth=5)
    before = [identity(one) for one in (code, see, embedded, candidates)]
    other_version(monkeypatch, "scipy", "99")
    after = [identity(one) for one in (code, see, embedded, candidates)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True, False]
    monkeypatch.undo()
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    assert [identity(one) == known for one, known in zip((code, see), before, strict=False)] == [False, True]  # see_also has no library


def test_other_versions_work_and_say_so(monkeypatch, tmp_path, caplog, tiny):
    with_only(monkeypatch, tiny(pair()))
    other_version(monkeypatch, "numpy", "99.1")
    collection = params.DocumentedCollection(task="see_also")
    with one_look():
        Pipeline(Store(tmp_path / "store"), track=untracked).build(params.DocsSpec(collection=collection))
    assert "numpy 99.1 (there 2.4.6)" in caplog.text and "counts differ from the published ones" in caplog.text
    assert documented.unlike_pinned("see_also").startswith("numpy 99.1 (there 2.4.6)")


def test_a_missing_package_is_said_before_anything_is_made(monkeypatch, tmp_path):
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "networkx" else known(name, *rest))
    other_version(monkeypatch, "networkx", None)
    collection = params.DocumentedCollection()
    message = "made of sources of networkx, which is not installed; pip install networkx"
    for read in (collections.check_source, collections.read_docs, collections.read_queries):
        with pytest.raises(CollectionError, match=message):
            read(collection)
    with pytest.raises(StoreError, match="docs .* cannot be made: there is no Python package networkx"):
        check_outside(params.DocsSpec(collection=collection))
    assert [message in problem for problem in checks._of_collection(collection)] == [True]


def test_a_package_without_sources_is_refused(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sourceless").mkdir()  # a namespace: no file says what it is
    importlib.invalidate_caches()
    with pytest.raises(documented.SourceError, match="sourceless has no source files.*--force-reinstall sourceless"):
        documented.folder_of("sourceless")


# --- among the other collections --------------------------------------------------------------------------------------------------


def test_it_is_read_as_every_collection_is(monkeypatch, tiny):
    with_only(monkeypatch, tiny(pair()))
    collection = params.DocumentedCollection(task="see_also", max_queries=1)
    assert collection.label == "documented-see_also/train[:1]"
    assert collections.read_docs(collection)["doc_id"].tolist() == [f"tiny.{TRAIN[0]}.b.other"]
    queries, qrels = collections.read_queries(collection)
    assert len(queries) == len(qrels) == 1
    with pytest.raises(CollectionError, match="no query was read; check the source"):
        collections.read_queries(collection.model_copy(update={"split": "test"}))


def test_its_splits_share_documents_and_it_names_its_own_test():
    train, test = (params.DocumentedCollection(task="see_also", split=split, max_queries=9) for split in ("train", "test"))
    assert train.undivided() == test.undivided() != params.DocumentedCollection().undivided()
    assert collections.own_tests(train) == (test.model_copy(update={"max_queries": None}),) and collections.own_tests(test) == ()
    assert collections.own_tests(params.PseudoQueries(documents=train)) == collections.own_tests(train)
    assert leakage._one_source(train, test) and not leakage._one_source(train, params.DocumentedCollection())
    assert leakage.ids_overlap(train, train) and not leakage.ids_overlap(train, test)


def test_the_studies_plan():
    for name in ("documented", "documented_see_also"):
        planned = plan.load_plan(ROOT / "params" / f"{name}.yaml")
        assert {one.source for pair in planned.study.collections for one in (pair.train, *pair.test)} == {"documented"}
        assert planned.study.search.validation.split == "validation"
