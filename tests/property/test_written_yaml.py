"""What an import writes is what a sidecar reads."""

from hypothesis import given
from hypothesis import strategies as st

from extauthz.compile.documents.policy_files import read_document
from extauthz.importing.outcome import Imported
from extauthz.importing.written_yaml import policies_text

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    [
        "true",
        "No",
        "~",
        "null",
        "1",
        "-",
        "a: b",
        "#",
        "a:b",
        "/**",
        "'",
        '"',
        "\\",
        "\u2028",
        "\x85",
        "\ufeff",
        "😀",
    ]
)
SCALARS = TEXTS | st.booleans() | st.integers(-1000, 1000)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3) | st.dictionaries(TEXTS, inner, min_size=1, max_size=3)
    ),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4), min_size=1, max_size=3), TEXTS)
def test_a_document_is_read_as_it_was_written(documents: list[dict[str, object]], comment: str) -> None:
    imported = Imported("test")
    for document in documents:
        imported.add("role_rules", document, comment)
    text = policies_text(imported, [comment])
    assert read_document(text.encode(), is_json=False) == {"role_rules": documents}
