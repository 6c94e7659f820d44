"""A finished study as an RO-Crate: a folder that says what it holds, and that a stranger can check.

In it are the study's file with its bases, its report with all tables, charts and executed notebooks, the manifests of every artefact that
it rests on, and what it was made with. Artefacts themselves stay out, named by the SHA-256 of their files in these manifests, unless they
are asked for. ``ro-crate-metadata.json`` describes every file with its size and SHA-256; :func:`check` compares them.

RO-Crate: Soiland-Reyes et al. 2022, Packaging research artefacts with RO-Crate, Data Science 5(2). The metadata is written by ``rocrate``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from rd_utils import __version__
from rd_utils.files import StoreError, tree_sha256
from rd_utils.study.kinds import PACKAGE
from rd_utils.study.params import ParameterError
from rd_utils.workflow.progress import Track, untracked

if TYPE_CHECKING:
    from rocrate.rocrate import ROCrate

    from rd_utils.store import Store
    from rd_utils.store.manifests import Manifest
    from rd_utils.study.kinds import Spec
    from rd_utils.study.plan import Plan
    from rd_utils.workflow.provenance import Verified

METADATA = "ro-crate-metadata.json"
OUTPUTS, STORE, ENVIRONMENT = PurePosixPath("outputs"), PurePosixPath("outputs/store"), PurePosixPath("environment")
MADE_BY, OURS = "made_by.json", "rd-utils"
LICENCE = "None is granted here: what is in it is under the licences of the project, of the collections and of the checkpoints."
_LOCKS = ("pyproject.toml", "environment.yml", "constraints.txt", "locks/*.txt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export study``."""
    parser.add_argument("study", metavar="STUDY", help="a study file, such as params/embedded.yaml, whose report is finished")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="where the crate goes; it must not exist")
    parser.add_argument("--base", metavar="NAME", help="the study as run on another base: the name of a file in params/bases")
    parser.add_argument("--artefacts", action="store_true", help="with the artefacts and teachers' scores, so that a copy can be verified")
    parser.add_argument("--licence", default=LICENCE, metavar="URL", help="under which the crate is given")


# --- writing ----------------------------------------------------------------------------------------------------------------------


def write(options: argparse.Namespace) -> str:
    """Write a finished study as a crate; return what to print.

    Raises:
        ParameterError: the study is not valid, or the folder exists.
        StoreError: the study is not finished, or something of it is damaged.
    """
    from rd_utils.exchange import export
    from rd_utils.store import Store
    from rd_utils.study.plan import load_plan
    from rd_utils.study.studies import run_command
    from rd_utils.workflow.progress import track

    folder = export.absent(options.to)
    plan, store = load_plan(options.study, options.base or None), Store()
    specs = plan.specs()
    command = run_command(options.study, options.base)
    _check_finished(plan, specs, store, command)
    for spec in track(specs, "verifying artefacts", len(specs)) if options.artefacts else ():
        store.verify(spec)
    manifests = [store.manifest(spec) for spec in specs]
    crate = _described(plan, options, manifests)
    _add_files(plan, options, store, manifests, crate)
    with export.fresh(folder) as draft:
        for entity in track(crate.data_entities, "writing the crate", len(crate.data_entities)):
            entity.write(draft)
        crate.metadata.write(draft)
    n_files = len(crate.get_by_type("File"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    held = "with their files" if options.artefacts else "by their manifests alone (--artefacts adds their files)"
    return (
        f"{folder}: study {plan.study.name}, {len(specs):,} artefacts {held}, {n_files:,} files, {size / 1e6:,.1f} MB\n"
        f"{METADATA}: SHA-256 {tree_sha256(folder / METADATA)}\n"
        f"`rd verify --crate {folder}` compares every file with it"
    )


def _check_finished(plan: Plan, specs: list[Spec], store: Store, command: str) -> None:
    from rd_utils.study import node_files

    missing = Counter(spec.stage for spec in specs if not store.has(spec))
    if missing:
        counts = ", ".join(f"{number} {stage}" for stage, number in missing.items())
        raise StoreError(f"study {plan.study.name} is not finished: the store lacks {counts}, or has them damaged; `{command}` makes them")
    if damage := node_files.report_damage(plan):
        raise StoreError(f"the report of study {plan.study.name} is not whole: {damage}; `{command}` writes it again")
    if absent := next((node for node in plan.nodes if not (plan.folder / "notebooks" / f"{node.name}.ipynb").is_file()), None):
        raise StoreError(f"the executed notebook {absent.name} is not in {plan.folder / 'notebooks'}; `{command}` puts it there")


def _add_files(plan: Plan, options: argparse.Namespace, store: Store, manifests: list[Manifest], crate: ROCrate) -> None:
    """Add every file to a crate, with its size and SHA-256."""
    from rd_utils.store import MANIFEST, suite_root
    from rd_utils.study import studies
    from rd_utils.workflow import provenance
    from rd_utils.workflow.progress import track

    def add(source: Path | str, name: PurePosixPath, digest: str | None = None, **about: Any) -> Any:
        if isinstance(source, str):
            size, digest = len(source.encode()), hashlib.sha256(source.encode()).hexdigest()
        else:
            size, digest = source.stat().st_size, digest or tree_sha256(source)
        properties = {"name": name.name, "contentSize": str(size), "sha256": digest, **about}
        return crate.add_file(io.StringIO(source) if isinstance(source, str) else source, str(name), properties=properties)

    own, *bases = studies.files_of(options.study, options.base or None)
    says = {"encodingFormat": "application/yaml"}
    crate.mainEntity = add(own, PurePosixPath("params", own.name), **says, description="the study")
    made_from = [crate.mainEntity]
    for path in bases:
        made_from.append(add(path, PurePosixPath("params/bases", path.name), **says, description="what the study is based on"))
    reported = sorted(path for path in plan.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    for path in track(reported, "reading the report", len(reported)):
        add(path, OUTPUTS / plan.study.name / path.relative_to(plan.folder).as_posix())
    report = crate.dereference(f"{OUTPUTS}/{plan.study.name}/report.html")
    action = {"name": f"rd run {plan.study.name}"}
    crate.add_action(crate.dereference(f"#{OURS}"), "#study", object=made_from, result=[report], properties=action)
    root = suite_root()
    for path in (path for pattern in _LOCKS for path in sorted(root.glob(pattern))):
        add(path, ENVIRONMENT / path.relative_to(root).as_posix())
    add(json.dumps(_made_by(manifests), indent=1, sort_keys=True) + "\n", ENVIRONMENT / MADE_BY)
    add(_readme(plan, options, own, manifests), PurePosixPath("README.md"), encodingFormat="text/markdown")
    places = {manifest["identity"]: PurePosixPath(manifest["stage"], manifest["identity"]) for manifest in manifests}
    for manifest in track(manifests, "adding artefacts", len(manifests)):
        place = places[manifest["identity"]]
        add(store.root / place / MANIFEST, STORE / place / MANIFEST, encodingFormat="application/json")
        for name, digest in manifest["files"].items() if options.artefacts else ():
            add(store.root / place / name, STORE / place / name, digest)
    for folder in provenance.pairs_of(store, [store.root / place for place in places.values()]) if options.artefacts else ():
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
            add(path, STORE / path.relative_to(store.root).as_posix())


def _described(plan: Plan, options: argparse.Namespace, manifests: list[Manifest]) -> ROCrate:
    """Return a crate without files: what it is, its artefacts and what each is made from, the packages, and what lies outside."""
    from rocrate.model import ContextEntity
    from rocrate.rocrate import ROCrate

    crate = ROCrate()
    crate.name, crate.description = f"Study {plan.study.name}", plan.study.question
    crate.license = options.licence
    packages = {(name, said) for manifest in manifests for name, said in manifest["packages"].items() if said and name != OURS}
    made_by = sorted({manifest["packages"].get(OURS) or __version__ for manifest in manifests})
    for identifier, name, said in ((f"#{OURS}", OURS, made_by), *((f"#{name}-{said}", name, said) for name, said in sorted(packages))):
        crate.add(ContextEntity(crate, identifier, {"@type": "SoftwareApplication", "name": name, "softwareVersion": said}))
    folders = {(one["stage"], one["identity"]): f"{STORE}/{one['stage']}/{one['identity']}/" for one in manifests}
    for manifest in manifests:
        key = manifest["stage"], manifest["identity"]
        below = [{"@id": folders[above]} for link in manifest["inputs"].values() if (above := (link["stage"], link["identity"])) in folders]
        parts = {"name": " ".join(key), "hasPart": [{"@id": f"{folders[key]}manifest.json"}]} | ({"isBasedOn": below} if below else {})
        crate.add_dataset(dest_path=folders[key], properties=parts)
    for path, digest in _outside(manifests).items():
        if _is_package(path):
            name = path.removeprefix(PACKAGE)
            about = {"@type": "SoftwareApplication", "name": name, "softwareVersion": digest, "description": "whose sources texts are of"}
            crate.root_dataset.append_to("mentions", crate.add(ContextEntity(crate, f"#sources-{name}-{digest.replace(' ', '-')}", about)))
            continue
        about = {"@type": "CreativeWork", "name": path, "sha256": digest, "description": "what the study names by path; not in the crate"}
        crate.root_dataset.append_to("mentions", crate.add(ContextEntity(crate, f"#outside-{digest[:20]}", about)))
    return crate


def _outside(manifests: list[Manifest]) -> dict[str, str]:
    """Return what artefacts were made from outside the store, with its fingerprints, of Python packages the versions."""
    return {path: digest for manifest in manifests for path, digest in (manifest["content"] or {}).items()}


def _is_package(path: str) -> bool:
    """Tell whether a Python package is named, and not a folder within one."""
    return path.startswith(PACKAGE) and "/" not in path


def _made_by(manifests: list[Manifest]) -> list[dict[str, Any]]:
    """Return the revisions, packages and machines that made artefacts, and how many each made."""
    said = Counter(json.dumps({key: one[key] for key in ("git", "packages", "machine")}, sort_keys=True) for one in manifests)
    return [{"artefacts": number} | json.loads(text) for text, number in said.most_common()]


def _readme(plan: Plan, options: argparse.Namespace, own: Path, manifests: list[Manifest]) -> str:
    name, base = plan.study.name, f" --base {options.base}" if options.base else ""
    outside = [
        f"- the sources of {path.removeprefix(PACKAGE)} {digest}" if _is_package(path) else f"- `{path}`, SHA-256 {digest}"
        for path, digest in sorted(_outside(manifests).items())
    ]
    parts = [
        f"# Study {name}",
        plan.study.question,
        f"`params/{own.name}` says the study, `outputs/{name}/report.html` what it found; tables, charts and executed notebooks lie beside "
        "it. `outputs/store` has the manifest of every artefact: its parameters, what it is made from, seed, versions, cost, and "
        f"the SHA-256 of its files. `environment` has the locked packages, and in `{MADE_BY}` which machine and versions made what.",
        "## Check it",
        f"With rd-utils installed, every file is compared with `{METADATA}`:",
        "    rd verify --crate .",
    ]
    if options.artefacts:
        parts += [
            "and, with the version that made it, every artefact with its manifest:",
            f"    rd verify params/{own.name}{base}",
        ]
    else:
        parts += ["The artefacts are not in it; manifests name their bytes, and `rd run` makes them."]
    if outside:
        parts += ["## Not in it", "The study also names:", "\n".join(outside)]
    return "\n\n".join(parts) + "\n"


# --- checking ---------------------------------------------------------------------------------------------------------------------


def check(folder: Path, track: Track = untracked) -> Verified:
    """Compare every file of a crate with the size and the SHA-256 that its metadata gives.

    Args:
        folder: of the crate.
        track: shows progress.

    Raises:
        ParameterError: the folder is no crate, or its metadata cannot be read.
    """
    from rd_utils.store import MANIFEST
    from rd_utils.workflow.provenance import Finding, Verified

    described = _hashed(folder)
    findings, size, artefacts = [], 0, 0
    for name, (length, digest) in track(described.items(), "verifying the crate", len(described)):
        path = folder / name
        artefacts += path.name == MANIFEST
        if not path.is_file():
            findings.append(Finding("damaged", path, "it is missing; fetch the crate again"))
            continue
        found = path.stat().st_size
        size += found
        if str(found) != length:
            findings.append(Finding("damaged", path, f"it has {found:,} bytes, not {length}; fetch the crate again"))
        elif (said := tree_sha256(path)) != digest:
            findings.append(Finding("damaged", path, f"its SHA-256 is {said[:12]}..., not {digest[:12]}...; fetch the crate again"))
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.relative_to(folder).as_posix() not in described.keys() | {METADATA}:
            findings.append(Finding("unknown", path, "the crate does not name it"))
    return Verified(findings, artefacts, len(described), size)


def _hashed(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the files that a crate describes, with their sizes and SHA-256."""
    from rocrate.rocrate import ROCrate

    if not (folder / METADATA).is_file():
        raise ParameterError(f"{folder} is no RO-Crate: it has no {METADATA}; name the folder that `export study` wrote")
    try:
        entities = ROCrate(folder).get_by_type("File")
        found = {unquote(str(one["@id"])): (str(one["contentSize"]), str(one["sha256"])) for one in entities}
    except (ValueError, KeyError, AttributeError, TypeError, AssertionError) as error:
        raise ParameterError(f"{folder / METADATA} cannot be read, or describes a file without size or sha256 ({error!r})") from None
    beyond = next((name for name in found if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts), None)
    if beyond is not None:
        raise ParameterError(f"{folder / METADATA} names {beyond!r}, which is not in the crate")
    if not found:
        raise ParameterError(f"{folder / METADATA} describes no file, so there is nothing to compare")
    return found


def say_checked(folder: Path, found: Verified) -> str:
    """Return what a person reads of a checked crate."""
    from rd_utils.workflow.provenance import say_verified

    return f"{say_verified(found, [])}\n{METADATA}: SHA-256 {tree_sha256(folder / METADATA)}; compare it with the one that was published"
