package io.extauthz.client;

import static io.extauthz.client.ScriptedServer.bytes;
import static io.extauthz.client.ScriptedServer.says;
import static io.extauthz.client.ScriptedServer.spaces;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.extauthz.client.ScriptedServer.Script;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class AnswersTest {

    private static final String STORED =
            "{\"id\": \"r1\", \"sub\": \"finance\", \"sub_kind\": \"role\", \"dom\": \"*\","
                    + " \"obj\": \"i:read\", \"act\": \"read\", \"effect\": \"%s\"}";
    private static final String DECISION = "{\"decision\": %s, \"reason\": \"rule_matched\", \"matched_rule_id\": null,"
            + " \"decision_id\": \"d1\", \"policy_revision\": %s, \"message\": \"because\"}";
    private static final RoleRule RULE = new RoleRule("finance", "*", "i:read", "read", Effect.ALLOW);
    private static final Function<ExtauthzClient, Object> LISTING = ExtauthzClient::roleRules;
    private static final Function<ExtauthzClient, Object> CREATING = client -> client.createRoleRule(RULE);
    private static final Function<ExtauthzClient, Object> CHECKING =
            client -> client.check(CheckRequest.builder("i:read", "read").build());
    private static final Function<ExtauthzClient, Object> DELETING = client -> {
        client.deleteRoleRule("r1");
        return null;
    };

    private static Object called(Function<ExtauthzClient, Object> call, Script... scripts) {
        try (var server = ScriptedServer.of(scripts);
                var client = ExtauthzClient.builder(server.url(), new ServiceKey("k"))
                        .build()) {
            Object found;
            try {
                found = call.apply(client);
            } catch (ExtauthzException error) {
                found = error;
            }
            assertEquals(scripts.length, server.requests().size());
            return found;
        }
    }

    private static String decision(String word, String revision) {
        return DECISION.formatted(word, revision);
    }

    static Stream<Arguments> unexpected() {
        String allow = decision("\"allow\"", "3");
        return Stream.of(
                Arguments.of(LISTING, says(200, null)),
                Arguments.of(LISTING, says(200, "null")),
                Arguments.of(LISTING, says(200, "[]")),
                Arguments.of(LISTING, says(200, "<html>")),
                Arguments.of(LISTING, says(200, "{\"items\": {}}")),
                Arguments.of(LISTING, says(200, "{\"items\": [{\"sub\": \"finance\"}], \"next_cursor\": null}")),
                Arguments.of(
                        LISTING, says(200, "{\"items\": [" + STORED.formatted("Deny") + "], \"next_cursor\": null}")),
                Arguments.of(LISTING, says(200, "{\"items\": [], \"next_cursor\": 7}")),
                Arguments.of(LISTING, says(200, "{\"items\": [], \"items\": []}")),
                Arguments.of(LISTING, says(200, "{\"items\": []} {}")),
                Arguments.of(LISTING, says(200, "{\"items\": [],}")),
                Arguments.of(LISTING, says(200, "{\"items\": [NaN]}")),
                Arguments.of(LISTING, says(200, "[".repeat(100_000))),
                Arguments.of(LISTING, bytes(200, "{\"items\": []}".getBytes(StandardCharsets.UTF_16))),
                Arguments.of(LISTING, bytes(200, new byte[] {'{', '"', (byte) 0xff, '"', ':', '1', '}'})),
                Arguments.of(CREATING, says(201, "\"created\"")),
                Arguments.of(DELETING, says(200, null)),
                Arguments.of(CHECKING, says(200, "{\"allow\": true}")),
                Arguments.of(CHECKING, says(204, null)),
                Arguments.of(CHECKING, says(200, decision("\"deny\"", "3"))),
                Arguments.of(CHECKING, says(200, decision("\"ALLOW\"", "3"))),
                Arguments.of(CHECKING, says(200, decision("true", "3"))),
                Arguments.of(CHECKING, says(200, decision("\"allow\"", "true"))),
                Arguments.of(CHECKING, says(200, decision("\"allow\"", "3.0"))),
                Arguments.of(CHECKING, says(200, decision("\"allow\"", "123456789012345678901234567890"))),
                Arguments.of(CHECKING, says(200, decision("\"deny\", \"decision\": \"allow\"", "3"))),
                Arguments.of(CHECKING, says(201, allow)),
                Arguments.of(CHECKING, says(403, allow)));
    }

    @ParameterizedTest
    @MethodSource("unexpected")
    void anAnswerThatTheApiNeverGivesIsAnError(Function<ExtauthzClient, Object> call, Script answer) {
        assertInstanceOf(UnexpectedAnswerException.class, called(call, answer));
    }

    @Test
    void anAnswerWithoutAnEndIsGivenUpOn() {
        for (long announced : new long[] {0, (64L << 20) + 1}) {
            var error = assertInstanceOf(UnexpectedAnswerException.class, called(LISTING, spaces(announced)));
            assertTrue(error.getMessage().contains("more than 67108864 bytes"), error.getMessage());
        }
    }

    @Test
    void aDenialIsAResultAndARefusedQuestionIsNot() {
        var denied = assertInstanceOf(CheckResult.class, called(CHECKING, says(403, decision("\"deny\"", "3"))));
        assertFalse(denied.allowed());
        var allowed = assertInstanceOf(CheckResult.class, called(CHECKING, says(200, decision("\"allow\"", "3"))));
        assertEquals(new CheckResult(true, "rule_matched", null, "d1", 3, "because"), allowed);

        Script forbidden = says(403, "{\"title\": \"Forbidden\", \"detail\": \"not yours\"}");
        assertEquals(
                "not yours",
                assertInstanceOf(ApiException.class, called(CHECKING, forbidden))
                        .detail());
    }

    @Test
    void aProblemHasEveryError() {
        String problem =
                "{\"title\": \"Unprocessable\", \"detail\": \"2 problems\", \"reason\": \"invalid\", \"errors\":"
                    + " [{\"pointer\": \"/0/name\", \"message\": \"is empty\", \"code\": \"empty\"}, {\"parameter\":"
                    + " \"limit\", \"message\": \"is\\n"
                    + "low\"}, {\"line\": 3, \"message\": \"is odd\"}, 7, {\"message\": \"2 problems\"}]}";
        var error = assertInstanceOf(ApiException.class, called(LISTING, says(422, problem)));

        assertEquals(
                "422 Unprocessable (invalid): 2 problems; /0/name is empty; limit is low; line 3 is odd",
                error.getMessage());
        assertEquals("422 Unprocessable (invalid): 2 problems", error.summary());
        assertEquals(
                List.of(
                        new Problem("is empty", "/0/name", null, null, "empty"),
                        new Problem("is\nlow", null, "limit", null, null),
                        new Problem("is odd", null, null, 3, null),
                        new Problem("2 problems", null, null, null, null)),
                error.errors());
        assertEquals("invalid", error.reason());
    }

    @Test
    void ofManyErrorsTheTextHasTheFirstTen() {
        var errors = new ArrayList<Problem>();
        for (int index = 0; index < 12; index++) {
            errors.add(new Problem("is wrong", "/" + index, null, null, null));
        }
        var error = new ApiException(422, "No", "", null, errors, null);

        assertTrue(error.getMessage().endsWith("/9 is wrong; and 2 more"), error.getMessage());
        assertEquals(12, error.errors().size());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "<html>Bad Gateway</html>", "[]", "{\"title\": 7, \"errors\": {}}"})
    void aRefusalOfSomethingElseIsStillARefusal(String body) {
        var error = assertInstanceOf(ApiException.class, called(LISTING, says(404, body)));

        assertEquals("404 Not Found", error.getMessage());
        assertEquals(List.of(), error.errors());
    }

    @Test
    void listsGoOverEveryPage() {
        try (var server = ScriptedServer.of(
                        says(200, "{\"items\": [" + STORED.formatted("allow") + "], \"next_cursor\": \"a b&c\"}"),
                        says(200, "{\"items\": [" + STORED.formatted("deny") + "], \"next_cursor\": null}"));
                var client = ExtauthzClient.builder(server.url(), new ServiceKey("k"))
                        .build()) {
            assertEquals(2, client.roleRules("i:read", null, "a*b~ü").size());

            List<String> targets = server.requests().stream()
                    .map(ScriptedServer.Arrived::target)
                    .toList();
            String filters = "/api/v1/resources/policies?obj=i%3Aread&dom=a%2Ab~%C3%BC&limit=500";
            assertEquals(List.of(filters, filters + "&cursor=a%20b%26c"), targets);
        }
    }

    @Test
    void numbersKeepAllTheirDigits() {
        List<Object> numbers = List.of(
                new BigDecimal("0.1000000000000000000000000000000000000001"),
                new BigDecimal("1E+400"),
                BigInteger.TEN.pow(40).add(BigInteger.ONE),
                Long.MIN_VALUE,
                new BigDecimal("0.1"));
        Map<String, Object> document = new LinkedHashMap<>();
        document.put("numbers", numbers);
        document.put("\ud800 ü", java.util.Arrays.asList(null, true, "\u2028"));

        byte[] written = Json.write(document);
        assertEquals(document, Json.read(written));
        assertTrue(new String(written, StandardCharsets.US_ASCII).contains("\\uD800 \\u00FC"));
        assertEquals(
                "[1,2,2.5,0.1]", new String(Json.write(List.of((short) 1, 2, 2.5, 0.1f)), StandardCharsets.US_ASCII));
    }

    @Test
    void whatJsonHasNoFormForIsRefused() {
        var itself = new ArrayList<Object>();
        itself.add(itself);
        for (Object value :
                List.of(Double.NaN, Float.POSITIVE_INFINITY, new Object(), Map.of(1, 2), itself, Effect.ALLOW)) {
            assertThrows(IllegalArgumentException.class, () -> Json.write(value));
        }
        assertNull(Json.read(new byte[0]));
    }

    @Test
    void aKeyIsSentInItsHeaderOnly() {
        try (var server = ScriptedServer.of(says(200, "{\"items\": []}"));
                var client = ExtauthzClient.builder(server.url(), new ServiceKey("sak_live_1"))
                        .build()) {
            client.roleRules();

            Map<String, String> headers = server.requests().get(0).headers();
            assertEquals("sak_live_1", headers.get("x-service-api-key"));
            assertNull(headers.get("authorization"));
            assertNull(headers.get("upgrade"));
            assertEquals("application/json", headers.get("accept"));
            assertEquals("extauthz-client", headers.get("user-agent"));
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "localhost:8080",
                "ftp://x",
                "/api",
                "https://u:p@host",
                "http://h?x",
                "http://h#x",
                "http://ext_authz"
            })
    void anInvalidAddressIsRefused(String address) {
        var error = assertThrows(
                IllegalArgumentException.class, () -> ExtauthzClient.builder(URI.create(address), new ServiceKey("k")));
        assertFalse(error.getMessage().contains("u:p"), error.getMessage());
    }

    @Test
    void anIdIsOneSegmentOfThePath() {
        try (var server = ScriptedServer.of(says(204, null));
                var client = ExtauthzClient.builder(URI.create(server.url() + "/base//"), new ServiceKey("k"))
                        .build()) {
            client.deleteResource("a/b?c d%", true);
            assertEquals(
                    "/base/api/v1/resources/a%2Fb%3Fc%20d%25?cascade=true",
                    server.requests().get(0).target());
            for (String id : List.of("", " ", ".", "..")) {
                assertThrows(IllegalArgumentException.class, () -> client.deleteResource(id));
            }
            assertThrows(IllegalArgumentException.class, () -> client.replaceRoleRule(RULE));
            assertEquals(1, server.requests().size());
        }
    }

    @Test
    void theMembersOfARequestAreTheApis() {
        String policy =
                "{\"id\": \"p1\", \"name\": \"n\", \"resource\": \"r\", \"actions\": [\"*\"], \"domain\": \"*\","
                    + " \"effect\": \"deny\", \"priority\": 0, \"enabled\": true, \"mode\": \"enforce\", \"format\":"
                    + " \"casbin\", \"rule_data\": \"x\", \"warnings\": [{\"code\": \"c\", \"pointer\": \"/x\","
                    + " \"message\": \"m\"}]}";
        try (var server = ScriptedServer.of(says(201, policy), says(200, "[]"), says(403, decision("\"deny\"", "1")));
                var client = ExtauthzClient.builder(server.url(), new ServiceKey("k"))
                        .build()) {
            var created = client.createAttributePolicy(AttributePolicy.builder("n", "r", Effect.DENY, "x")
                    .mode(Mode.SHADOW)
                    .priority(2)
                    .build());
            assertEquals(List.of(new Problem("m", "/x", null, null, "c")), created.warnings());
            assertEquals(created, created.toBuilder().build());
            client.register(List.of(ResourceSpec.builder("n", "s")
                    .displayName("N")
                    .defaultRoles("a")
                    .route(new Route(List.of("GET"), "/p", "h", "act", Authentication.OPTIONAL))
                    .isPublic(false)
                    .headers(Map.of("x-a", "user.a"))
                    .authorization(Authorization.REMOVE)
                    .assertion(true)
                    .requireBound(false)
                    .build()));
            client.check(CheckRequest.builder("r", "a")
                    .subject("bob", SubjectKind.SERVICE)
                    .domain("d")
                    .attributes("user", Map.of("roles", List.of("x")))
                    .minRevision(3)
                    .build());

            List<String> bodies =
                    server.requests().stream().map(ScriptedServer.Arrived::body).toList();
            assertEquals(
                    List.of(
                            "{\"name\":\"n\",\"resource\":\"r\",\"actions\":[\"*\"],\"effect\":\"deny\",\"priority\":2,"
                                    + "\"enabled\":true,\"mode\":\"shadow\",\"format\":\"casbin\",\"rule_data\":\"x\"}",
                            "[{\"name\":\"n\",\"serviceName\":\"s\",\"displayName\":\"N\",\"defaultRoles\":[\"a\"],"
                                + "\"routes\":[{\"host\":\"h\",\"methods\":[\"GET\"],\"path\":\"/p\",\"action\":\"act\","
                                + "\"authentication\":\"optional\"}],\"public\":false,\"headers\":{\"x-a\":\"user.a\"},"
                                + "\"authorization\":\"remove\",\"assertion\":true,\"require_bound\":false}]",
                            "{\"subject\":\"bob\",\"subject_kind\":\"service\",\"resource\":\"r\",\"action\":\"a\","
                                + "\"domain\":\"d\",\"attributes\":{\"user\":{\"roles\":[\"x\"]}},\"min_revision\":3}"),
                    bodies);
        }
    }
}
