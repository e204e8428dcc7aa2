"""The drawn layout of the package: one line for each file."""

import re

from tools.generate_layout import PAGE, ROOT, files

_LINE = re.compile(r"( *)([a-z0-9_]+(?:\.py|/)) +(\S.*)")


def test_every_file_of_the_packages_has_its_line() -> None:
    drawn: list[str] = []
    folders: list[str] = []
    block = PAGE.read_text().partition("```text\n")[2].partition("```")[0]
    for line in block.splitlines():
        found = _LINE.fullmatch(line)
        assert found is not None, line
        depth, name = len(found[1]) // 2, found[2]
        del folders[depth:]
        if name.endswith("/"):
            folders.append(name)
            drawn.append("".join(folders) + "__init__.py")
        else:
            drawn.append("".join(folders) + name)

    expected = sorted(str(path.relative_to(ROOT)).removeprefix("sdk/python/") for path in files())
    assert sorted(drawn) == expected, "run tools/generate_layout.py"
