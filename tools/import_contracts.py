"""A contract type for import-linter: which third-party packages a room may import.

import-linter's own `forbidden` names what is not allowed and lets every other package pass. This one names
what is allowed; any other package outside of the project and the standard library breaks it.
"""

import sys
from typing import cast

import grimp
from importlinter import Contract, ContractCheck, fields, output


class ThirdParty(Contract):
    """Modules in `source_modules` and below import no third-party package but those in `allowed`."""

    source_modules = fields.SetField(subfield=fields.StringField())
    allowed = fields.SetField(subfield=fields.StringField(), required=False, default=frozenset())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002
        """Compare every direct import of a module outside the project with the list."""
        sources = cast("set[str]", self.source_modules)
        missing = sorted(sources - graph.modules)
        if missing:
            raise ValueError(f"contract {self.name!r} names modules that do not exist: {', '.join(missing)}")
        ours = {name.partition(".")[0] for name in sources}
        permitted = ours | cast("set[str]", self.allowed) | sys.stdlib_module_names
        violations = [
            f"{importer} imports {imported} (line {details['line_number']})"
            for importer in sorted(sources.union(*map(graph.find_descendants, sources)))
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if imported.partition(".")[0] not in permitted
            for details in graph.get_import_details(importer=importer, imported=imported)
        ]
        return ContractCheck(kept=not violations, metadata={"violations": violations})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print every import that the list does not name."""
        for violation in check.metadata["violations"]:
            output.print_error(f"- {violation}")
        output.new_line()
