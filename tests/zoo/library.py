"""What sentence-transformers itself makes of texts, in a process of its own that cannot import this package.

Run as a script it is that process: it reads requests as JSON lines and answers with files of arrays. :class:`Library` starts it and asks.
Python runs isolated (``-I``: no PYTHONPATH, no user site, no current folder), and what an editable installation would find is blocked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PACKAGE = "rd_utils"


class LibraryError(RuntimeError):
    """What the library said when it could not do what was asked."""


class Library:
    """A running process of sentence-transformers alone; see :func:`_answer` for what it does with a request."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
        self._log = (folder / "log.txt").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=folder,
            env=environment,
            text=True,
        )
        self.without = self._line()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Return the arrays that answer a request."""
        import numpy as np

        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            request["out"] = str(Path(scratch) / "out.npz")
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._line()
            if "error" in answer:
                short = {name: value for name, value in request.items() if not isinstance(value, list)}
                raise LibraryError(f"{answer['error']} (request: {short})")
            with np.load(request["out"]) as arrays:
                return dict(arrays)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._log.close()

    def _line(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise LibraryError(f"the library's process ended: {(self.folder / 'log.txt').read_text()[-2000:]}")
        return json.loads(line)


class _Blocker:
    """Finds no module of this package, wherever an installation may have put it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[0] == PACKAGE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _bi(request: dict[str, Any]) -> dict[str, Any]:
    """Return ``queries`` and ``documents``, as encode_query and encode_document make them.

    ``limits``: of documents and of queries, where the folder's own are not below them. ``pooling``: one for a plain encoder's folder.
    ``float32``: compute in it whatever is stored. ``batch_size``: of both calls.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    options = {"model_kwargs": {"dtype": torch.float32}} if request.get("float32") else {}
    if request.get("pooling"):
        transformer = Transformer(request["folder"], **options)
        pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode=request["pooling"])
        model = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    else:
        model = SentenceTransformer(request["folder"], device="cpu", **options)
    if request.get("float32"):
        model = model.float()
    if request.get("limits"):
        own, (limit, query_limit) = model.max_seq_length, request["limits"]
        model[0].query_length = min(query_limit, model[0].query_length or own)
        model[0].document_length = min(limit, model[0].document_length or own)
        model.max_seq_length = min(limit, own)
    batch = {"batch_size": request.get("batch_size", 32), "show_progress_bar": False}
    return {
        "queries": model.encode_query(request["queries"], **batch),
        "documents": model.encode_document(request["documents"], **batch),
    }


def _cross(request: dict[str, Any]) -> dict[str, Any]:
    """Return ``raw`` scores of pairs (activation: identity), those as the folder has them, and the ``softmax`` of two labels.

    ``max_length``: the limit, where the folder's own is not below it. ``float32``: compute in it whatever is stored.
    """
    import torch
    from sentence_transformers import CrossEncoder

    options = {"model_kwargs": {"dtype": torch.float32}} if request.get("float32") else {}
    model = CrossEncoder(request["folder"], device="cpu", **options)
    if request.get("max_length"):
        model.max_seq_length = min(request["max_length"], model.max_seq_length)
    pairs = [tuple(pair) for pair in request["pairs"]]
    batch = {"batch_size": request.get("batch_size", 32), "show_progress_bar": False}
    found = {"raw": model.predict(pairs, activation_fn=torch.nn.Identity(), **batch), "own": model.predict(pairs, **batch)}
    if model.num_labels == 2:
        found["softmax"] = model.predict(pairs, activation_fn=torch.nn.Identity(), apply_softmax=True, **batch)
    return found


def _answer() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    sys.meta_path.insert(0, _Blocker())
    try:
        __import__(PACKAGE)
    except ModuleNotFoundError as error:
        hello = {"missing": error.name, "path": sys.path, "folder": os.getcwd()}
    else:
        hello = {"missing": None}
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import numpy as np
    import torch

    torch.set_num_threads(1)
    print(json.dumps(hello), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            arrays = {"bi": _bi, "cross": _cross}[request["kind"]](request)
            if any(name.split(".")[0] == PACKAGE for name in sys.modules):
                raise RuntimeError(f"{PACKAGE} was imported")
            np.savez(request["out"], **arrays)
            answer = {"done": True}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _answer()
