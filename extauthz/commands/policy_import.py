"""`extauthz policy import`: policies of Casbin or Istio as a folder of policies, and what could not be taken.

Output: with `--out` a new folder with `policies.yaml` and `cases.yaml`, else one YAML document on stdout;
what was not taken goes to stderr, a line each. Where something that denies cannot be taken, nothing is
written.
"""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from extauthz.commands.status import BAD_USAGE, FAILED, OK, fail, print_json, unreadable
from extauthz.compile.documents.policy_files import MAX_TEXT_BYTES
from extauthz.compile.roles.role_model import ModelInvalid, compile_model
from extauthz.domain.one_line import one_line
from extauthz.importing.casbin import import_casbin
from extauthz.importing.checked import check, differences, runner_of
from extauthz.importing.istio import IstioOptions, import_istio
from extauthz.importing.istio_cases import answered
from extauthz.importing.istio_targets import Workload
from extauthz.importing.outcome import Imported, SourceInvalid
from extauthz.importing.written_yaml import cases_text, policies_text
from extauthz.shipped import shipped

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_MODEL_MARK: Final = b"[request_definition]"


@dataclass(frozen=True, slots=True)
class ImportArguments:
    """The arguments of the command."""

    source: str
    files: Sequence[Path]
    out: Path | None = None
    model: Path | None = None
    policies: Sequence[Path] = ()
    subjects: str = "user"
    service: str = "imported"
    workload: str | None = None
    host: str | None = None
    root_namespace: str = "istio-system"
    trust_domains: Sequence[str] = ()
    providers: Sequence[str] = field(default=())
    as_json: bool = False


class _FileRefusedError(Exception):
    """A file that cannot be used; `status` was printed for it."""


def run(environ: Mapping[str, str], given: ImportArguments) -> int:
    """Import; return OK where everything was taken, FAILED where something was not."""
    if environ.get("CASBIN_MODEL_PATH"):
        return fail(
            "CASBIN_MODEL_PATH is set, and imported policies are for the shipped model only; unset it",
            BAD_USAGE,
        )
    model = compile_model(shipped("policies/model.conf").read_text("utf-8"))
    if isinstance(model, ModelInvalid):
        return fail(model.message)
    if given.out is not None and given.out.exists() and not _is_empty(given.out):
        return fail(f"{str(given.out)!r} exists and is not an empty folder; name a new one", BAD_USAGE)
    try:
        imported = _casbin(given) if given.source == "casbin" else _istio(given)
    except OSError as error:
        return unreadable(error.filename, error)
    except _FileRefusedError as error:
        return fail(str(error), BAD_USAGE)
    if isinstance(imported, SourceInvalid):
        return fail(str(imported), BAD_USAGE)
    snapshot = check(imported, model)
    if snapshot is not None and given.source == "istio":
        imported.cases = list(answered(imported.cases, runner_of(snapshot)))
    elif snapshot is not None and (wrong := differences(imported, snapshot)):
        return fail(f"nothing is imported: it would answer otherwise than {given.source}: {'; '.join(wrong)}")
    try:
        return _answer(given, imported)
    except OSError as error:
        return fail(f"{str(given.out)!r} cannot be written: {error.strerror}", BAD_USAGE)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is None


def _answer(given: ImportArguments, imported: Imported) -> int:
    texts = {} if imported.refused else _texts(given, imported)
    if given.out is not None and texts:
        _write(given.out, texts)
    taken = not imported.not_taken
    if given.as_json:
        written = (
            {} if given.out is not None else {"policies": {} if imported.refused else imported.policies()}
        )
        return print_json(taken, **imported.to_json(), **written)
    if given.out is None and texts:
        sys.stdout.write(texts["policies.yaml"])
    elif texts:
        counts = {table: len(origins) for table, origins in imported.entries.items()}
        counts |= {"cases": len(imported.cases)}
        print(f"{given.out}: {', '.join(f'{name} {count}' for name, count in counts.items() if count)}")
        for note in imported.notes:
            print(f"note: {one_line(note)}")
    sys.stdout.flush()
    for each in imported.not_taken:
        print(f"not taken: {one_line(str(each))}", file=sys.stderr)
    if imported.refused:
        return fail(
            "nothing is imported: what denies, or decides whom a deny is about, must be taken as a whole"
        )
    for name, value in imported.settings.items():
        print(f"set {name}={value}", file=sys.stderr)
    return OK if taken else FAILED


def _texts(given: ImportArguments, imported: Imported) -> dict[str, str]:
    names = ", ".join(map(str, [*([given.model] if given.model else []), *given.policies, *given.files]))
    header = [
        f"Imported from {given.source}: {names}",
        "docs/coming-from.md says what an import is equal in.",
    ]
    header += [f"Set {name}={value}" for name, value in imported.settings.items()]
    texts = {"policies.yaml": policies_text(imported, header)}
    if imported.cases:
        said = (
            "Questions with the answers of Casbin."
            if given.source == "casbin"
            else "A request for each rule. Change what is expected where it is not what is meant."
        )
        texts["cases.yaml"] = cases_text(said, imported.cases, header[:1])
    return texts


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write all files or none: they are made in a folder of another name. Raises OSError."""
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".import-", dir=parent))
    try:
        for name, text in texts.items():
            (made / name).write_text(text, "utf-8")
        made.chmod(0o777 & ~_umask())
        made.rename(folder)
    except OSError:
        for each in made.iterdir():
            each.unlink()
        made.rmdir()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _casbin(given: ImportArguments) -> Imported | SourceInvalid:
    data = [(path, _read(path)) for path in given.files]
    models = [] if given.model is None else [(given.model, _read(given.model))]
    models += [(path, text) for path, text in data if _MODEL_MARK in text]
    policies = [(path, _read(path)) for path in given.policies]
    policies += [(path, text) for path, text in data if _MODEL_MARK not in text]
    if len(models) != 1 or not policies:
        raise _FileRefusedError(
            f"found {len(models)} Casbin models and {len(policies)} policy files; one model (.conf) and one "
            "or more policy files (.csv) are needed"
        )
    names = _short_names([path for path, _ in policies])
    return import_casbin(
        (str(models[0][0]), models[0][1]),
        [(name, text) for name, (_, text) in zip(names, policies, strict=True)],
        service=given.service,
        subjects=given.subjects,
    )


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Return names for ids and comments: the name of each file, where these differ."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _istio(given: ImportArguments) -> Imported | SourceInvalid:
    files = [file for path in given.files for file in _files(path)]
    if not files:
        raise _FileRefusedError("a file or folder with Istio policies is needed")
    workload = None if given.workload is None else Workload.parse(given.workload)
    if given.workload is not None and workload is None:
        raise _FileRefusedError(
            f"--workload {given.workload!r} is not NAMESPACE or NAMESPACE/label=value,..., each label once"
        )
    options = IstioOptions(
        service=given.service,
        workload=workload,
        host=given.host,
        root_namespace=given.root_namespace,
        trust_domains=tuple(given.trust_domains),
        providers=frozenset(given.providers),
    )
    return import_istio([(str(file), _read(file)) for file in files], options)


def _files(path: Path) -> list[Path]:
    """Return the files of a folder; what may hold a policy and is not read is refused.

    Raises OSError, and _FileRefusedError.
    """
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for folder, folders, files in os.walk(path, onerror=_cannot_list):
        # Kubernetes mounts keep their files in a folder `..TIME`, to which `..data` leads, and link to them.
        folders[:] = [name for name in folders if not name.startswith("..")]
        for each in map(Path(folder).joinpath, folders):
            if each.is_symlink():
                raise _FileRefusedError(
                    f"{str(each)!r} is a link to a folder; remove it, and name that folder"
                )
        for each in map(Path(folder).joinpath, files):
            if each.suffix not in _SUFFIXES and each.suffix.lower() in _SUFFIXES:
                raise _FileRefusedError(f"{str(each)!r} is not read with its folder; write the suffix small")
            if each.suffix in _SUFFIXES:
                if not each.is_file():
                    raise _FileRefusedError(f"{str(each)!r} is not a file that can be read")
                found.append(each)
    return sorted(found)


def _cannot_list(error: OSError) -> None:
    raise error


def _read(path: Path) -> bytes:
    """Read a file or a pipe. Raises OSError, and _FileRefusedError where it is too large or no text."""
    with path.open("rb") as file:
        data = file.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise _FileRefusedError(f"{str(path)!r} is larger than {MAX_TEXT_BYTES} bytes")
    if b"\0" in data:
        raise _FileRefusedError(f"{str(path)!r} holds a NUL byte; it is not text")
    return data
