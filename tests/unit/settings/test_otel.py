"""OpenTelemetry's own variables: what they switch on, what is refused, and that no header is quoted."""

import pytest

from extauthz.settings import OtlpProtocol, Sampler, Settings, load_settings, misspelt
from extauthz.settings.otel_values import otlp_headers, ratio, resource_attributes
from extauthz.settings.values import InvalidValueError
from extauthz.telemetry.otlp import Signal, otlp_resource, otlp_target


def loaded(**environ: str) -> Settings:
    found = load_settings(environ, serving=False)
    assert isinstance(found, Settings), found
    return found


def problems(**environ: str) -> list[str]:
    found = load_settings(environ, serving=False)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("environ", "traced"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/in"}, True),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://collector:4318/in"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_TRACES_SAMPLER": "always_off", "OTEL_TRACES_EXPORTER": "otlp"}, False),
    ],
)
def test_traces_are_off_unless_there_is_somewhere_to_send_them(
    environ: dict[str, str], *, traced: bool
) -> None:
    assert loaded(**environ).traces is traced


def test_targets_follow_the_specification_of_the_exporter() -> None:
    nothing = loaded(OTEL_TRACES_EXPORTER="otlp")
    assert otlp_target(nothing, Signal.TRACES).url == "http://localhost:4318/v1/traces"
    grpc = loaded(OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert otlp_target(grpc, Signal.TRACES).address == "localhost:4317"

    base = loaded(
        OTEL_EXPORTER_OTLP_ENDPOINT="https://collector.example/otlp/", OTEL_EXPORTER_OTLP_TIMEOUT="1500"
    )
    assert otlp_target(base, Signal.TRACES).url == "https://collector.example/otlp/v1/traces"
    assert otlp_target(base, Signal.LOGS).url == "https://collector.example/otlp/v1/logs"
    assert otlp_target(base, Signal.LOGS).timeout_s == 1.5

    own = loaded(
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://[::1]:4318/in", OTEL_EXPORTER_OTLP_PROTOCOL="GRPC"
    )
    target = otlp_target(own, Signal.TRACES)
    assert (target.url, target.address, target.protocol) == (
        "http://[::1]:4318/in",
        "[::1]:4318",
        OtlpProtocol.GRPC,
    )


def test_headers_are_a_secret_that_no_text_of_a_target_shows() -> None:
    settings = loaded(OTEL_EXPORTER_OTLP_HEADERS="Api-Key=se%20cr,x-scope=orders")
    target = otlp_target(settings, Signal.TRACES)

    assert target.headers == (("api-key", "se cr"), ("x-scope", "orders"))
    assert "cr" not in repr(target).replace("/v1/traces", "")


@pytest.mark.parametrize(
    "value",
    [
        "api-key",
        "=x",
        "a b=c",
        "content-type=x",
        "Host=a",
        "grpc-timeout=1S",
        "k-bin=AA",
        "k=%00",
        "k=%0d%0aa",
        "k=1,K=2",
    ],
)
def test_headers_that_the_protocol_or_no_request_can_have_are_refused_unquoted(value: str) -> None:
    with pytest.raises(InvalidValueError):
        otlp_headers(value)
    (problem,) = problems(OTEL_EXPORTER_OTLP_HEADERS=f"{value},x=topsecret")
    assert problem.startswith("OTEL_EXPORTER_OTLP_HEADERS is a value; it must be ")
    assert "topsecret" not in problem


def test_the_resource_has_the_operators_attributes_before_ours() -> None:
    settings = loaded(
        OTEL_RESOURCE_ATTRIBUTES="service.name=shop,k8s.pod.name=orders%2D0,k8s.pod.name=orders-1"
    )
    shown = {
        each.key: each.value.string_value
        for each in otlp_resource(settings, instance="i-1", worker=3).attributes
    }
    assert shown["service.name"] == "shop"
    assert shown["k8s.pod.name"] == "orders-1"
    assert (shown["service.instance.id"], shown["extauthz.worker"]) == ("i-1", "3")
    named = loaded(OTEL_RESOURCE_ATTRIBUTES="service.name=shop", OTEL_SERVICE_NAME="authz")
    assert otlp_resource(named, instance="i", worker=0).attributes[0].value.string_value == "authz"


@pytest.mark.parametrize(
    "value", ["a", "=b", "a b=c", "k=%ff", "k=a%0ab", ",".join(f"k{n}=v" for n in range(65))]
)
def test_invalid_resource_attributes_are_refused(value: str) -> None:
    with pytest.raises(InvalidValueError):
        resource_attributes(value)


@pytest.mark.parametrize(
    "value", ["", ".", "-0.1", "1.01", "1e-2", "nan", "inf", "0,01", "\u0660.\u0665", "1%"]
)
def test_a_ratio_is_a_plain_number_from_0_to_1(value: str) -> None:
    with pytest.raises(InvalidValueError):
        ratio(value)
    assert [ratio(each) for each in ("0", "1", "0.01", ".5", " 1.0 ")] == [0, 1, 0.01, 0.5, 1]


def test_all_problems_are_told_at_once() -> None:
    found = problems(
        OTEL_TRACES_EXPORTER="zipkin",
        OTEL_EXPORTER_OTLP_ENDPOINT="collector:4317",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/json",
        OTEL_EXPORTER_OTLP_TIMEOUT="0",
        OTEL_EXPORTER_OTLP_CLIENT_KEY="key.pem",
        OTEL_TRACES_SAMPLER_ARG="0.01",
        OTEL_BSP_MAX_QUEUE_SIZE="100",
    )
    text = "\n".join(found)
    assert len(found) == 7, text
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is 'http/json'; it must be one of grpc, http/protobuf" in text
    assert (
        "OTEL_TRACES_SAMPLER_ARG is set and parentbased_always_on of OTEL_TRACES_SAMPLER has no share" in text
    )
    assert "OTEL_BSP_MAX_EXPORT_BATCH_SIZE 512 exceeds OTEL_BSP_MAX_QUEUE_SIZE 100" in text


def test_a_share_needs_a_sampler_that_has_one() -> None:
    settings = loaded(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0.01")
    assert (settings.otel_traces_sampler, settings.otel_traces_sampler_arg) == (Sampler.PARENT_RATIO, 0.01)


def test_names_of_the_specification_that_mean_nothing_here_are_not_misspelt() -> None:
    found = misspelt(["OTEL_METRICS_EXPORTER", "OTEL_PROPAGATORS", "OTEL_EXPORTER_OTLP_ENDPIONT"])
    assert found == {"OTEL_EXPORTER_OTLP_ENDPIONT": "did you mean OTEL_EXPORTER_OTLP_ENDPOINT?"}
