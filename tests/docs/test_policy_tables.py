"""The tables of operators and attributes in the reference are those of the code."""

from tools.generate_policy_tables import PAGE, page


def test_the_reference_lists_the_operators_and_attributes_of_the_code() -> None:
    text = PAGE.read_text()
    assert text == page(text), "run tools/generate_policy_tables.py"
