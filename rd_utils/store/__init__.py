"""The store: every artefact under an identity, written atomically, with a manifest."""

from rd_utils.files import StoreError
from rd_utils.store.artefacts import SMALL, Draft, Store
from rd_utils.store.damage import MANIFEST, Damage, DamageError, damage_of, dependents, read_manifest, write_manifest
from rd_utils.store.identities import check_outside, identity, upstream
from rd_utils.store.meter import Meter, cpu_seconds, peak_memory_mb, surroundings
from rd_utils.store.outside import file_sha256, folder_fingerprint, named_outside, one_look, outside_content, teacher_files, unchanged
from rd_utils.store.paths import outputs_root, project_of, project_path, project_root, resolve_path, shipped, suite_root

__all__ = [
    "MANIFEST", "SMALL", "Damage", "DamageError", "Draft", "Meter", "Store", "StoreError", "check_outside", "cpu_seconds", "damage_of",
    "dependents", "file_sha256", "folder_fingerprint", "identity", "named_outside", "one_look", "outputs_root", "outside_content",
    "peak_memory_mb", "project_of", "project_path", "project_root", "read_manifest", "resolve_path", "shipped", "suite_root",
    "surroundings", "teacher_files", "unchanged", "upstream", "write_manifest",
]  # fmt: skip
