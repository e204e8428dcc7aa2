package io.extauthz.client;

import static io.extauthz.client.ScriptedServer.DISCONNECTS;
import static io.extauthz.client.ScriptedServer.IS_SILENT;
import static io.extauthz.client.ScriptedServer.says;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.extauthz.client.ScriptedServer.Script;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
class CredentialsTest {

    private static final Script EMPTY = says(200, "{\"items\": [], \"next_cursor\": null}");
    private static final String DISCOVERY = "/.well-known/openid-configuration";

    /** An identity provider that describes itself and answers at its token endpoint with one script each. */
    private static ScriptedServer provider(Map<String, String> changes, Script... tokens) {
        var next = new AtomicInteger();
        return ScriptedServer.of((server, exchange) -> {
            if (exchange.getRequestURI().getPath().equals("/token")) {
                tokens[Math.min(next.getAndIncrement(), tokens.length - 1)].answer(server, exchange);
                return;
            }
            var document = new LinkedHashMap<String, Object>();
            document.put("issuer", server.url().toString());
            document.put("token_endpoint", server.url() + "/token");
            document.putAll(changes);
            says(200, new String(Json.write(document), StandardCharsets.US_ASCII))
                    .answer(server, exchange);
        });
    }

    private static Script grants(String members) {
        return says(200, "{\"access_token\": \"abc.def\", \"token_type\": \"Bearer\"" + members + "}");
    }

    private static ClientCredentials client(ScriptedServer provider) {
        return ClientCredentials.builder(provider.url().toString(), "a")
                .secret("b")
                .build();
    }

    private static Object listed(Credentials credentials, ScriptedServer api) {
        try (var client = ExtauthzClient.builder(api.url(), credentials).build()) {
            return client.roleRules();
        } catch (ExtauthzException error) {
            return error;
        }
    }

    @Test
    void theClientAuthenticatesAsTheSpecificationRequires() {
        try (var provider = provider(Map.of(), grants(", \"expires_in\": 3600"));
                var api = ScriptedServer.of(EMPTY)) {
            var credentials = ClientCredentials.builder(provider.url().toString(), "a:b")
                    .secret("ö+ /")
                    .scope("extauthz more")
                    .audience("https://api.example.com")
                    .resource("https://one.example.com/")
                    .resource("urn:two")
                    .build();
            assertEquals(List.of(), listed(credentials, api));

            var request = provider.requests().get(1);
            // RFC 6749 2.3.1 and appendix B: form-encoded, then joined.
            assertEquals("Basic YSUzQWI6JUMzJUI2JTJCKyUyRg==", request.headers().get("authorization"));
            assertEquals("application/x-www-form-urlencoded", request.headers().get("content-type"));
            assertEquals(
                    Map.of(
                            "grant_type", "client_credentials",
                            "scope", "extauthz more",
                            "audience", "https://api.example.com",
                            "resource", "https://one.example.com/ urn:two"),
                    request.form());
            assertEquals("Bearer abc.def", api.requests().get(0).headers().get("authorization"));
            assertFalse(api.requests().get(0).headers().containsKey("x-service-api-key"));
        }
    }

    @Test
    void theSecretIsInTheFormWhereTheProviderWantsItThere() {
        try (var provider = provider(Map.of(), grants(""));
                var api = ScriptedServer.of(EMPTY)) {
            var credentials = ClientCredentials.builder(provider.url().toString(), "a:b")
                    .secret("ö+ /")
                    .method(ClientAuthentication.CLIENT_SECRET_POST)
                    .build();
            assertEquals(List.of(), listed(credentials, api));

            var request = provider.requests().get(1);
            assertFalse(request.headers().containsKey("authorization"));
            assertEquals(
                    Map.of("grant_type", "client_credentials", "client_id", "a:b", "client_secret", "ö+ /"),
                    request.form());
        }
    }

    @ParameterizedTest
    @EnumSource(Keys.Kind.class)
    void theClientSignsForItself(Keys.Kind kind, @TempDir Path folder) throws Exception {
        var key = kind.generated();
        Path file = Keys.pem(folder.resolve("key.pem"), key.getPrivate());
        try (var provider = provider(Map.of(), grants(", \"expires_in\": 1e-9"));
                var api = ScriptedServer.of(EMPTY)) {
            String issuer = provider.url().toString();
            var credentials = ClientCredentials.builder(issuer, "operations")
                    .keyFile(file)
                    .keyId("k1")
                    .build();
            assertEquals(List.of(), listed(credentials, api));
            Map<String, String> form = provider.requests().get(1).form();
            assertEquals(Set.of("grant_type", "client_id", "client_assertion_type", "client_assertion"), form.keySet());
            assertEquals("operations", form.get("client_id"));
            assertEquals("urn:ietf:params:oauth:client-assertion-type:jwt-bearer", form.get("client_assertion_type"));
            assertFalse(provider.requests().get(1).headers().containsKey("authorization"));

            String assertion = form.get("client_assertion");
            assertEquals(Map.of("typ", "JWT", "alg", kind.algorithm(), "kid", "k1"), Keys.part(assertion, 0));
            assertTrue(kind.verifies(key.getPublic(), assertion));
            Map<?, ?> claims = Keys.part(assertion, 1);
            assertEquals(Set.of("iss", "sub", "aud", "jti", "iat", "exp"), claims.keySet());
            assertEquals(
                    List.of("operations", "operations", issuer),
                    List.of(claims.get("iss"), claims.get("sub"), claims.get("aud")));
            assertEquals(60L, (Long) claims.get("exp") - (Long) claims.get("iat"));

            // A replaced file is read for the next token, and each assertion has an id of its own.
            var other = kind.generated();
            Keys.pem(file, other.getPrivate());
            assertEquals(List.of(), listed(credentials, api));
            String second = provider.requests().get(3).form().get("client_assertion");
            assertTrue(kind.verifies(other.getPublic(), second));
            assertFalse(claims.get("jti").equals(Keys.part(second, 1).get("jti")));
        }
    }

    @Test
    void aProviderThatCannotNowIsAskedAgain() {
        try (var provider = provider(Map.of(), says(503, null), DISCONNECTS, grants(""));
                var api = ScriptedServer.of(EMPTY)) {
            assertEquals(List.of(), listed(client(provider), api));
            assertEquals(3, provider.asked("/token"));
        }
    }

    static Stream<Script> invalidTokens() {
        return Stream.of(
                says(400, "{\"error\": \"invalid_scope\"}"),
                says(200, "{}"),
                says(200, "[]"),
                says(200, "{\"access_token\": \"\", \"token_type\": \"Bearer\"}"),
                says(200, "{\"access_token\": \"a\\r\\nx: y\", \"token_type\": \"Bearer\"}"),
                says(200, "{\"access_token\": \"abc\", \"access_token\": \"def\", \"token_type\": \"Bearer\"}"),
                says(200, "{\"access_token\": \"abc\", \"token_type\": \"mac\"}"),
                says(200, "{\"access_token\": \"abc\", \"token_type\": null}"),
                says(200, " ".repeat(2 << 20)),
                says(302, null, "location", "http://localhost:9/"));
    }

    @ParameterizedTest
    @MethodSource("invalidTokens")
    void anInvalidTokenAnswerIsNotSentAsAToken(Script answer) {
        try (var provider = provider(Map.of(), answer);
                var api = ScriptedServer.of(EMPTY)) {
            Object found = listed(client(provider), api);

            assertEquals(ExtauthzException.class, found.getClass());
            assertEquals(1, provider.asked("/token"));
            assertEquals(List.of(), api.requests());
        }
    }

    static Stream<Arguments> discoveries() {
        return Stream.of(
                Arguments.of(Map.of("issuer", "https://other.example.com"), "is of the issuer"),
                Arguments.of(Map.of("token_endpoint", "ftp://x/token"), "http or https"),
                Arguments.of(Map.of("token_endpoint", "not an address"), "http or https"),
                Arguments.of(Map.of("token_endpoint", ""), "http or https"));
    }

    @ParameterizedTest
    @MethodSource("discoveries")
    void anUnusableDiscoveryDocumentIsNotFollowed(Map<String, String> changes, String problem) {
        try (var provider = provider(changes, grants(""));
                var api = ScriptedServer.of(EMPTY)) {
            var error = assertInstanceOf(ExtauthzException.class, listed(client(provider), api));

            assertTrue(error.getMessage().contains(problem), error.getMessage());
            assertEquals(
                    List.of(DISCOVERY),
                    provider.requests().stream()
                            .map(ScriptedServer.Arrived::path)
                            .toList());
        }
    }

    @Test
    void theIssuerIsComparedExactly() {
        try (var provider = provider(Map.of(), grants(""));
                var api = ScriptedServer.of(EMPTY)) {
            var credentials = ClientCredentials.builder(provider.url() + "/", "a")
                    .secret("b")
                    .build();
            var error = assertInstanceOf(ExtauthzException.class, listed(credentials, api));

            assertTrue(error.getMessage().contains("is of the issuer"), error.getMessage());
            assertEquals(DISCOVERY, provider.requests().get(0).path());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"3600", "\"3600\"", "null", "\"soon\"", "-5", "\"NaN\"", "1e999", "true", "1e-9"})
    void aTokenIsKeptForItsLifetime(String expiresIn) {
        try (var provider = provider(Map.of(), grants(", \"expires_in\": " + expiresIn));
                var api = ScriptedServer.of(EMPTY);
                var client = ExtauthzClient.builder(api.url(), client(provider)).build()) {
            for (int call = 0; call < 3; call++) {
                client.roleRules();
            }

            assertEquals(expiresIn.equals("1e-9") ? 3 : 1, provider.asked("/token"));
            assertEquals(1, provider.asked(DISCOVERY));
        }
    }

    @Test
    void aRefusedTokenIsReplacedOnce() {
        try (var provider = provider(Map.of(), grants(""));
                var api = ScriptedServer.of(says(401, null), EMPTY)) {
            assertEquals(List.of(), listed(client(provider), api));
            assertEquals(2, provider.asked("/token"));
        }
        try (var provider = provider(Map.of(), grants(""));
                var api = ScriptedServer.of(says(401, null))) {
            assertEquals(
                    401,
                    assertInstanceOf(ApiException.class, listed(client(provider), api))
                            .status());
            assertEquals(2, provider.asked("/token"));
            assertEquals(2, api.requests().size());
        }
    }

    @Test
    void callsAtOnceShareOneToken() throws Exception {
        try (var provider = provider(Map.of(), grants(""));
                var api = ScriptedServer.of(EMPTY);
                var client = ExtauthzClient.builder(api.url(), client(provider)).build()) {
            var threads = Executors.newFixedThreadPool(8);
            try {
                var calls = IntStream.range(0, 40)
                        .mapToObj(call -> CompletableFuture.supplyAsync(client::roleRules, threads))
                        .toList();
                for (var call : calls) {
                    assertEquals(List.of(), call.get());
                }
            } finally {
                threads.shutdown();
            }
            assertEquals(1, provider.asked("/token"));
        }
    }

    @Test
    void callsAtOnceShareOneFailure() {
        try (var provider = provider(Map.of(), IS_SILENT);
                var api = ScriptedServer.of(EMPTY);
                var client = ExtauthzClient.builder(api.url(), client(provider))
                        .attempts(1)
                        .timeout(Duration.ofSeconds(2))
                        .build()) {
            var threads = Executors.newFixedThreadPool(9);
            try {
                var calls = IntStream.range(0, 9)
                        .mapToObj(call -> CompletableFuture.supplyAsync(
                                () -> assertThrows(UnreachableException.class, client::roleRules), threads))
                        .toList();
                Set<String> messages =
                        calls.stream().map(call -> call.join().getMessage()).collect(Collectors.toSet());

                assertEquals(Set.of("POST " + provider.url() + "/token: no answer within 2000 ms"), messages);
            } finally {
                threads.shutdown();
            }
            assertEquals(1, provider.asked("/token"));
        }
    }

    @Test
    void anUnreachableProviderIsTriedAgain() {
        try (var api = ScriptedServer.of(EMPTY);
                var client = ExtauthzClient.builder(
                                api.url(),
                                ClientCredentials.builder("http://localhost:9", "a")
                                        .secret("b")
                                        .build())
                        .attempts(2)
                        .build()) {
            var error = assertThrows(UnreachableException.class, client::roleRules);
            assertTrue(error.getMessage().contains("GET http://localhost:9/.well-known"), error.getMessage());
            assertEquals(List.of(), api.requests());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "sak_live_1\n", "two words", "schlüssel", "tab\t"})
    void aKeyThatNoHeaderCarriesIsRefused(String key) {
        var error = assertThrows(IllegalArgumentException.class, () -> new ServiceKey(key));
        assertTrue(error.getMessage().contains("one word of ASCII"), error.getMessage());
        assertFalse(key.length() > 1 && error.getMessage().contains(key));
    }

    @Test
    void noTextHasASecret() {
        String secret = "client-secret-of-the-test-0123456789";
        String token = "access-token-of-the-test-0123456789";
        String granted = "{\"access_token\": \"%s\", \"token_type\": \"%s\"}";
        record Case(Script token, Script answer) {}
        Script grant = says(200, granted.formatted(token, "Bearer"));
        var cases = List.of(
                new Case(grant, EMPTY),
                new Case(grant, says(401, "{\"title\": \"Unauthorized\"}")),
                new Case(grant, says(500, null)),
                new Case(grant, DISCONNECTS),
                new Case(says(401, "{\"error\": \"invalid_client\"}"), EMPTY),
                new Case(says(503, null), EMPTY),
                new Case(DISCONNECTS, EMPTY),
                new Case(says(200, granted.formatted(token + " ", "Bearer")), EMPTY),
                new Case(says(200, granted.formatted(token, "mac")), EMPTY),
                new Case(says(302, null, "location", "http://elsewhere.test"), EMPTY));
        for (ClientAuthentication method :
                List.of(ClientAuthentication.CLIENT_SECRET_BASIC, ClientAuthentication.CLIENT_SECRET_POST)) {
            for (Case each : cases) {
                try (var provider = provider(Map.of(), each.token());
                        var api = ScriptedServer.of(each.answer())) {
                    var credentials = ClientCredentials.builder(provider.url().toString(), "operations")
                            .secret(secret)
                            .method(method)
                            .build();
                    var said = new StringWriter();
                    try (var client = ExtauthzClient.builder(api.url(), credentials)
                            .attempts(2)
                            .build()) {
                        said.append(client.toString()).append(credentials.toString());
                        client.roleRules();
                    } catch (ExtauthzException error) {
                        error.printStackTrace(new PrintWriter(said));
                    }
                    assertTrue(provider.asked("/token") > 0);
                    String basic = Base64.getEncoder()
                            .encodeToString(("operations:" + secret).getBytes(StandardCharsets.US_ASCII));
                    for (String hidden : List.of(secret, token, basic)) {
                        assertFalse(said.toString().contains(hidden), said.toString());
                    }
                }
            }
        }
        assertFalse(new ServiceKey("sak_live_hidden").toString().contains("hidden"));
    }

    static Stream<Arguments> unusableClients() {
        var builder = ClientCredentials.builder("https://idp.example.com", "a");
        List<Arguments> cases = new ArrayList<>();
        cases.add(Arguments.of(ClientCredentials.builder("https://idp", "a"), "needs a secret"));
        cases.add(Arguments.of(ClientCredentials.builder("https://idp", "a").secret(""), "needs a secret"));
        cases.add(Arguments.of(ClientCredentials.builder("idp", "a").secret("b"), "http or https"));
        cases.add(Arguments.of(ClientCredentials.builder("https://u:p@idp", "a").secret("b"), "no user"));
        cases.add(Arguments.of(ClientCredentials.builder("https://idp", "").secret("b"), "client id is empty"));
        cases.add(Arguments.of(
                ClientCredentials.builder("https://idp", "a").secret("b").keyFile(Path.of("k")), "not both"));
        cases.add(Arguments.of(
                ClientCredentials.builder("https://idp", "a").secret("b").keyId("k"), "key file"));
        cases.add(Arguments.of(builder.secret("b").method(ClientAuthentication.PRIVATE_KEY_JWT), "needs a key file"));
        cases.add(Arguments.of(
                ClientCredentials.builder("https://idp", "a").keyFile(Path.of("/nowhere/key.pem")), "cannot be read"));
        return cases.stream();
    }

    @ParameterizedTest
    @MethodSource("unusableClients")
    void aClientThatCannotAuthenticateIsRefused(ClientCredentials.Builder builder, String problem) {
        var error = assertThrows(IllegalArgumentException.class, builder::build);
        assertTrue(error.getMessage().contains(problem), error.getMessage());
        assertFalse(error.getMessage().contains("u:p"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "relative", "https://a#b", "not a uri"})
    void aResourceIsAnAbsoluteUri(String resource) {
        assertThrows(
                IllegalArgumentException.class,
                () -> ClientCredentials.builder("https://idp", "a").resource(resource));
    }

    @Test
    void aClientHasAnIssuerAndCredentials() {
        assertEquals(
                "https://idp",
                ClientCredentials.builder("https://idp", "a")
                        .secret("b")
                        .build()
                        .issuer());
        assertThrows(NullPointerException.class, () -> ExtauthzClient.builder(URI.create("http://h"), null));
    }
}
