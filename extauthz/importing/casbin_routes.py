"""Casbin lines on paths and methods become resources with routes, each with the rules of all lines on it.

The templates are closed under intersection (`path_shapes`), so that the best template of a request has
exactly the lines that Casbin would find for its path. The action is the method; a route for the methods that
no line names has the action `other`, which only lines for every method cover.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from extauthz.importing.casbin_lines import PolicyFileLines, PolicyLine
from extauthz.importing.casbin_paths import (
    EVERY_METHOD,
    EVERY_PATH,
    Methods,
    Paths,
    read_methods,
    read_paths,
)
from extauthz.importing.casbin_shape import How, ModelShape
from extauthz.importing.outcome import Consequence, Imported, NotTaken
from extauthz.importing.path_shapes import PathShape, ShapeTree, closed

OTHER_METHODS: Final = "other"
_MAX_RULES: Final = 1_000_000
_HEAD: Final = (
    "HEAD is decided as GET: where Casbin allows GET and not HEAD, HEAD is allowed here, and a deny of GET "
    "is one of HEAD."
)


@dataclass(slots=True)
class HttpLine:
    """A line with its paths and methods."""

    line: PolicyLine
    paths: Paths
    methods: Methods


@dataclass(frozen=True, slots=True)
class RegionRule:
    """A line on one template; `act` is a method, or `*`."""

    line: PolicyLine
    act: str


@dataclass(slots=True)
class Region:
    """One template, and what the lines say about its paths."""

    template: str
    rules: list[RegionRule] = field(default_factory=list)
    catches_other_methods: bool = False

    def routes(self) -> list[dict[str, object]]:
        """Return the routes; without rules one that leads to no rule, so that a wider template does not."""
        methods = dict.fromkeys(rule.act for rule in self.rules if rule.act != "*")
        found: list[dict[str, object]] = [
            {"methods": [method], "path": self.template, "action": method} for method in methods
        ]
        if self.catches_other_methods or not found:
            found.append({"methods": ["*"], "path": self.template, "action": OTHER_METHODS})
        return found


def asks_about_http(lines: PolicyFileLines, shape: ModelShape) -> bool:
    """Return whether the lines are about paths and methods: what the model compares as patterns always is."""
    obj, act = shape.terms.get("obj"), shape.terms.get("act")
    if any(term is not None and term.how is not How.EQUAL for term in (obj, act)):
        return True
    if obj is None or act is None or not lines.policies:
        return False
    return all(
        (line.obj == "*" or line.obj.startswith("/"))
        and (line.act == "*" or not isinstance(read_methods(line.act, act.how), str))
        for line in lines.policies
    ) and any(line.obj != "*" for line in lines.policies)


def http_lines(lines: PolicyFileLines, shape: ModelShape, imported: Imported) -> list[HttpLine]:
    """Return the lines whose paths and methods have an equal; what has none goes into `imported`."""
    found: list[HttpLine] = []
    obj, act = shape.terms.get("obj"), shape.terms.get("act")
    for line in lines.policies:
        paths = EVERY_PATH if obj is None or line.obj == "*" else read_paths(line.obj, obj.how)
        methods = EVERY_METHOD if act is None or line.act == "*" else read_methods(line.act, act.how)
        if isinstance(paths, str):
            imported.not_taken.append(_dropped(line, "obj", paths, "write a route for it"))
        elif isinstance(methods, str):
            imported.not_taken.append(_dropped(line, "act", methods, "name the methods"))
        else:
            found.append(HttpLine(line, paths, methods))
    found = list(_without_head(found, imported))
    if any(not each.line.denies and each.methods.names is None for each in found):
        for each in found:
            if each.line.denies and each.methods.open:
                imported.not_taken.append(
                    _dropped(
                        each.line,
                        "act",
                        "regexMatch also denies longer methods, which another line allows",
                        "write ^(...)$",
                    )
                )
    if any(each.methods.open for each in found):
        imported.note(
            "regexMatch matches from the beginning: a line for GET also covers a method such as GETX in "
            "Casbin, and not here."
        )
    return found


def _without_head(found: list[HttpLine], imported: Imported) -> Iterator[HttpLine]:
    """Yield the lines without HEAD, which no route names; a line for HEAD alone needs a twin for GET."""
    with_get = {
        (each.line.sub, each.line.dom, each.line.obj, each.line.denies)
        for each in found
        if each.methods.names is None or "GET" in each.methods.names
    }
    for each in found:
        names = each.methods.names
        if names is not None and "HEAD" in names:
            line = each.line
            names = tuple(name for name in names if name != "HEAD")
            if "GET" not in names and (line.sub, line.dom, line.obj, line.denies) not in with_get:
                imported.not_taken.append(
                    _dropped(
                        line, "act", "HEAD is decided as GET, and no line says the same of GET", "name GET"
                    )
                )
                continue
            if not names:
                continue
            each = HttpLine(line, each.paths, Methods(names, each.methods.open))  # noqa: PLW2901
        elif names is not None and "GET" in names:
            imported.note(_HEAD)
        yield each


def regions(found: list[HttpLine], *, everywhere: bool = False) -> list[Region] | str:
    """Return the templates with their rules, or why they are too many.

    With `everywhere` a rule that is not among the lines allows each path and method.
    """
    shapes = closed([each.paths.shape for each in found] + [EVERY_PATH.shape] * everywhere)
    if shapes is None:
        return "the patterns of the lines have too many intersections"
    tree: ShapeTree[HttpLine] = ShapeTree()
    names: dict[PathShape, tuple[str, ...]] = {}
    for each in found:
        tree.add(each.paths.shape, each)
        names.setdefault(each.paths.shape, each.paths.names)
    result: list[Region] = []
    count = 0
    for shape in shapes:
        region = Region(shape.template(names.get(shape, ())), catches_other_methods=everywhere)
        for each in sorted(tree.holding(shape), key=lambda line: (line.line.file, line.line.line)):
            methods = each.methods.names
            region.catches_other_methods |= methods is None
            region.rules += [RegionRule(each.line, act) for act in (("*",) if methods is None else methods)]
        count += len(region.rules)
        if count > _MAX_RULES:
            return f"their patterns overlap so often that more than {_MAX_RULES} rules would be needed"
        result.append(region)
    return result


def _dropped(line: PolicyLine, member: str, reason: str, instead: str) -> NotTaken:
    effect = Consequence.NOTHING_IMPORTED if line.denies else Consequence.LEFT_OUT
    return NotTaken(line.file, line.line, line.text, member, f"{reason}", instead, effect)
