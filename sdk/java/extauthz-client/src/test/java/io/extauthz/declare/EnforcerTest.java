package io.extauthz.declare;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpServer;
import io.extauthz.client.ExtauthzClient;
import io.extauthz.client.ServiceKey;
import io.extauthz.client.SubjectKind;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class EnforcerTest {

    private static final Declaration READ = DeclarationsTest.declaration("invoice:read");
    private static final String TOKEN = "eyJ0.eyJz.c2ln";

    private record Asked(String authorization, String key, String body) { }

    private final BlockingQueue<Asked> asked = new LinkedBlockingQueue<>();
    private HttpServer server;
    private ExtauthzClient client;
    private volatile int status = 200;
    private volatile String body;

    @BeforeEach
    void serve() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/api/v1/check", exchange -> {
            asked.add(new Asked(
                    exchange.getRequestHeaders().getFirst("Authorization"),
                    exchange.getRequestHeaders().getFirst("X-Service-Api-Key"),
                    new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8)));
            byte[] answer = body.getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            exchange.sendResponseHeaders(status, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
        client = ExtauthzClient.builder(
                        URI.create("http://127.0.0.1:" + server.getAddress().getPort()), new ServiceKey("sak_live_x"))
                .attempts(1)
                .build();
        answer("allow");
    }

    @AfterEach
    void stop() {
        client.close();
        server.stop(0);
    }

    private void answer(String decision) {
        status = decision.equals("allow") ? 200 : 403;
        body = """
                {"decision": "%s", "reason": "%s", "matched_rule_id": null, "decision_id": "0190-1",
                 "policy_revision": 7, "message": "m"}"""
                .formatted(decision, decision.equals("allow") ? "rule_matched" : "no_matching_rule");
    }

    private Verdict enforce(Map<String, List<String>> headers, Declaration declared, Map<String, String> parameters) {
        return new Enforcer(() -> client, CallerReader.none())
                .enforce(name -> headers.getOrDefault(name, List.of()), declared, parameters);
    }

    private Verdict enforce(String... authorization) {
        return enforce(Map.of("authorization", List.of(authorization)), READ, Map.of("number", "7"));
    }

    @Test
    void callersTokenIsAskedAbout() {
        Verdict verdict = enforce("Bearer " + TOKEN);
        assertTrue(verdict.allowed());
        assertEquals("0190-1", verdict.decisionId());
        Asked question = asked.remove();
        assertEquals("Bearer " + TOKEN, question.authorization());
        assertEquals(null, question.key());
        assertTrue(question.body().contains("\"resource\":\"invoice:read\""), question.body());
        assertTrue(question.body().contains("\"action\":\"read\""), question.body());
        assertTrue(question.body().contains("{\"resource\":{\"number\":\"7\"}}"), question.body());
        assertFalse(question.body().contains("subject"), question.body());
    }

    @Test
    void parametersAreAskedAboutUnderTheNamesOfTheMesh() {
        var token = Map.of("authorization", List.of("Bearer " + TOKEN));
        assertTrue(enforce(token, READ, Map.of("invoice-number", "7")).allowed());
        assertTrue(asked.remove().body().contains("{\"resource\":{\"invoice_number\":\"7\"}}"));
    }

    @Test
    void parametersOfOneNameInTheMeshAreDenied() {
        var token = Map.of("authorization", List.of("Bearer " + TOKEN));
        Verdict verdict = enforce(token, READ, Map.of("invoice-number", "7", "invoice_number", "8"));
        assertEquals("condition_unknown", verdict.reason());
        assertTrue(asked.isEmpty());
    }

    @Test
    void denialOfTheApiIsADenial() {
        answer("deny");
        Verdict verdict = enforce("bearer " + TOKEN);
        assertEquals(403, verdict.status());
        assertEquals("{\"error\":\"forbidden\",\"reason\":\"no_matching_rule\",\"decision_id\":\"0190-1\"}", verdict.body());
    }

    @Test
    void identityHeadersAreNotBelieved() {
        var headers = Map.of(
                "x-auth-subject", List.of("alice"), "x-auth-kind", List.of("user"), "x-auth-assertion", List.of("a.b.c"));
        assertEquals(401, enforce(headers, READ, Map.of()).status());
        assertTrue(asked.isEmpty());
    }

    @Test
    void identityHeadersOfATrustedNetworkAreBelieved() {
        var headers = Map.of("x-auth-subject", List.of("alice"), "x-auth-kind", List.of("user"));
        Verdict verdict = new Enforcer(() -> client, CallerReader.ofTrustedHeaders())
                .enforce(name -> headers.getOrDefault(name, List.of()), null, Map.of());
        assertTrue(verdict.allowed());
        assertEquals("alice", verdict.caller().subject());
        assertTrue(asked.isEmpty());
    }

    @Test
    void endpointWithoutADeclarationIsDenied() {
        Verdict verdict = enforce(Map.of("authorization", List.of("Bearer " + TOKEN)), null, Map.of());
        assertEquals(403, verdict.status());
        assertEquals("unmapped_route", verdict.reason());
        assertTrue(asked.isEmpty());
    }

    @Test
    void requestWithoutACredentialIsDenied() {
        assertEquals("token_missing", enforce().reason());
        assertEquals(401, enforce().status());
    }

    @Test
    void severalCredentialsAreDenied() {
        assertEquals("credentials_conflict", enforce("Bearer " + TOKEN, "Bearer " + TOKEN).reason());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer a\u00e9", "Bearer a,b", "Bearer =a"})
    void credentialThatIsNotABearerTokenIsDenied(String authorization) {
        Verdict verdict = enforce(authorization);
        assertEquals(401, verdict.status());
        assertEquals("token_malformed", verdict.reason());
        assertTrue(asked.isEmpty());
    }

    @ParameterizedTest
    @CsvSource({"401, 401", "403, 403", "404, 503", "409, 503", "422, 503", "429, 503", "500, 503", "503, 503", "302, 503"})
    void refusalOfTheApiIsADenial(int answered, int denied) {
        status = answered;
        body = "{\"title\": \"refused\", \"status\": " + answered + "}";
        assertEquals(denied, enforce("Bearer " + TOKEN).status());
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "", "true", "{}", "[]", "{\"decision\": \"allow\"}", "{\"decision\": true}", "{\"decision\": \"deny\"}", "allow",
    })
    void answerThatIsNotADecisionIsADenial(String answer) {
        body = answer;
        Verdict verdict = enforce("Bearer " + TOKEN);
        assertEquals(503, verdict.status());
        assertFalse(verdict.message().contains(TOKEN), verdict.message());
    }

    @Test
    void serverThatIsAwayIsADenial() {
        server.stop(0);
        assertEquals(503, enforce("Bearer " + TOKEN).status());
    }

    @Test
    void clientThatCannotBeMadeIsADenial() {
        Verdict verdict = new Enforcer(() -> {
            throw new IllegalStateException("secret");
        }, CallerReader.none()).enforce(
                name -> name.equals("authorization") ? List.of("Bearer " + TOKEN) : List.of(), READ, Map.of());
        assertEquals(503, verdict.status());
        assertFalse(verdict.message().contains("secret"), verdict.message());
    }

    @ParameterizedTest
    @ValueSource(strings = {"name", "service"})
    void parameterThatNoCheckCanHaveIsADenial(String name) {
        Verdict verdict = enforce(Map.of("authorization", List.of("Bearer " + TOKEN)), READ, Map.of(name, "7"));
        assertEquals(403, verdict.status());
        assertTrue(verdict.message().contains("'" + name + "'"), verdict.message());
    }

    @Test
    void subjectOfTheApplicationIsAskedAboutWithTheServiceKey() {
        var subject = new Enforcer.Subject("bob", SubjectKind.USER, "emea", Map.of("roles", List.of("finance")));
        Verdict verdict = new Enforcer(() -> client, CallerReader.none())
                .enforce(name -> List.of(), READ, Map.of(), () -> Optional.of(subject));
        assertTrue(verdict.allowed());
        Asked question = asked.remove();
        assertEquals("sak_live_x", question.key());
        assertEquals(null, question.authorization());
        assertTrue(question.body().contains("\"subject\":\"bob\""), question.body());
        assertTrue(question.body().contains("\"roles\":[\"finance\"]"), question.body());
    }

    @Test
    void refusedServiceKeyIsNotTheCallersFault() {
        status = 401;
        body = "{\"title\": \"Unauthorized\", \"status\": 401}";
        var subject = new Enforcer.Subject("bob", SubjectKind.USER, null, Map.of());
        assertEquals(503, new Enforcer(() -> client, CallerReader.none())
                .enforce(name -> List.of(), READ, Map.of(), () -> Optional.of(subject)).status());
    }
}
