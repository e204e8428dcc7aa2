"""The settings of the decision log: masks, the share of allows, the chain; all problems at once."""

import pytest

from extauthz.settings import Mask, Settings, load_settings

KEY = "k" * 32
OTHER = "o" * 32


def loaded(**environ: str) -> Settings:
    found = load_settings(environ, serving=False)
    assert isinstance(found, Settings), found
    return found


def problems(**environ: str) -> list[str]:
    found = load_settings(environ, serving=False)
    assert isinstance(found, list)
    return found


def test_by_default_nothing_is_masked_left_out_or_chained() -> None:
    settings = loaded()
    assert (settings.decision_log_mask, settings.decision_log_sample_allows) == ({}, 1.0)
    assert settings.decision_log_chain is False


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("OTLP", "otlp"),
        (" Stdout ", "stdout"),
        ("/var/log/Decisions", "/var/log/Decisions"),
        ("./otlp", "./otlp"),
        ("decisions.jsonl", "decisions.jsonl"),
    ],
)
def test_the_target_is_a_word_or_a_path(value: str, target: str) -> None:
    assert loaded(DECISION_LOG=value).decision_log == target


@pytest.mark.parametrize("value", ["stdot", "stderr", "otel", "off", "-", " ", "a\nb"])
def test_a_word_that_is_neither_is_not_taken_for_a_file(value: str) -> None:
    must = "it must be stdout, otlp, or the path of a file, with a folder or a suffix"
    assert problems(DECISION_LOG=value) == [f"DECISION_LOG is {value!r}; {must}"]


def test_masks_are_read_by_field() -> None:
    settings = loaded(DECISION_LOG_MASK=" Subject:HASH , path : drop,", DECISION_LOG_MASK_KEY=KEY)
    assert settings.decision_log_mask == {"subject": Mask.HASH, "path": Mask.DROP}
    assert loaded(DECISION_LOG_MASK="path:drop").decision_log_mask_key is None


@pytest.mark.parametrize(
    ("environ", "parts"),
    [
        (
            {"DECISION_LOG_MASK": "password:hash"},
            ("DECISION_LOG_MASK", "without 'password'", "subject, domain"),
        ),
        ({"DECISION_LOG_MASK": "tenant:drop"}, ("DECISION_LOG_MASK", "without 'tenant'")),
        ({"DECISION_LOG_MASK": "subject"}, ("DECISION_LOG_MASK", "'subject' is neither")),
        ({"DECISION_LOG_MASK": "subject=hash"}, ("DECISION_LOG_MASK", "FIELD:drop")),
        ({"DECISION_LOG_MASK": "subject:md5"}, ("DECISION_LOG_MASK", "'subject:md5' is neither")),
        ({"DECISION_LOG_MASK": "path:drop,path:hash"}, ("DECISION_LOG_MASK", "'path' is there twice")),
        ({"DECISION_LOG_MASK": ","}, ("DECISION_LOG_MASK", "or unset")),
        (
            {"DECISION_LOG_MASK": "subject:hash", "DECISION_LOG_MASK_KEY": "12345"},
            ("DECISION_LOG_MASK_KEY", "a secret of 32 bytes or more"),
        ),
        ({"DECISION_LOG_MASK": "subject:hash"}, ("hashes subject", "DECISION_LOG_MASK_KEY is not set")),
        ({"DECISION_LOG_MASK_KEY": KEY}, ("DECISION_LOG_MASK hashes no field",)),
        ({"DECISION_LOG_CHAIN_KEY": KEY}, ("DECISION_LOG_CHAIN is off",)),
        (
            {"DECISION_LOG_CHAIN": "on", "DECISION_LOG_CHAIN_KEY": "short"},
            ("DECISION_LOG_CHAIN_KEY", "32 bytes"),
        ),
        (
            {
                "DECISION_LOG_CHAIN": "on",
                "DECISION_LOG_CHAIN_KEY": KEY,
                "DECISION_LOG_MASK": "subject:hash",
                "DECISION_LOG_MASK_KEY": KEY,
            },
            ("same secret",),
        ),
        ({"DECISION_LOG": "otlp", "OTEL_SDK_DISABLED": "true"}, ("DECISION_LOG=otlp", "OTEL_SDK_DISABLED")),
        ({"DECISION_LOG_SAMPLE_ALLOWS": "1.01"}, ("DECISION_LOG_SAMPLE_ALLOWS", "from 0 to 1")),
        ({"DECISION_LOG_SAMPLE_ALLOWS": "-0.1"}, ("from 0 to 1",)),
        ({"DECISION_LOG_SAMPLE_ALLOWS": "1e-3"}, ("from 0 to 1",)),
        ({"DECISION_LOG_SAMPLE_ALLOWS": "nan"}, ("from 0 to 1",)),
        ({"DECISION_LOG_SAMPLE_ALLOWS": "."}, ("from 0 to 1",)),
        ({"DECISION_LOG_SAMPLE_ALLOWS": "10%"}, ("from 0 to 1",)),
    ],
)
def test_one_wrong_value_is_one_problem_that_says_what_is_right(
    environ: dict[str, str], parts: tuple[str, ...]
) -> None:
    (problem,) = problems(**environ)
    assert all(part in problem for part in parts), problem
    assert KEY not in problem
    assert "12345" not in problem


@pytest.mark.parametrize(
    ("text", "share"), [("0", 0.0), ("1", 1.0), ("1.0", 1.0), (".5", 0.5), ("0.001", 0.001)]
)
def test_a_share_is_a_decimal_number(text: str, share: float) -> None:
    assert loaded(DECISION_LOG_SAMPLE_ALLOWS=text).decision_log_sample_allows == share


def test_all_problems_are_told_at_once() -> None:
    found = problems(
        DECISION_LOG_MASK="x:hash", DECISION_LOG_MASK_KEY="12345", DECISION_LOG_SAMPLE_ALLOWS="2",
        DECISION_LOG_CHAIN="maybe", DECISION_LOG_CHAIN_KEY="short",
    )  # fmt: skip
    assert len(found) == 5


def test_two_keys_for_two_readers() -> None:
    settings = loaded(
        DECISION_LOG_CHAIN="on",
        DECISION_LOG_CHAIN_KEY=OTHER,
        DECISION_LOG_MASK="subject:hash",
        DECISION_LOG_MASK_KEY=KEY,
    )
    assert (settings.decision_log_mask_key, settings.decision_log_chain_key) == (KEY, OTHER)
