package io.extauthz.spring;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.extauthz.client.SubjectKind;
import io.extauthz.declare.Enforcer;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.Signature;
import java.time.Instant;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.web.servlet.config.annotation.CorsRegistry;
import org.springframework.web.servlet.config.annotation.WebMvcConfigurer;

@Timeout(120)
class DirectCallsTest {

    private static final String TOKEN = "eyJ0.eyJz.c2ln";
    private static final List<Class<?>> CONTROLLERS =
            List.of(Controllers.Invoices.class, Controllers.Internal.class, Controllers.Who.class);
    private static final Base64.Encoder BASE64 = Base64.getUrlEncoder().withoutPadding();

    private final ScriptedExtauthz extauthz = new ScriptedExtauthz();
    private final HttpClient http = HttpClient.newHttpClient();

    @AfterEach
    void stop() {
        extauthz.close();
    }

    static class Session {

        @Bean
        SubjectResolver subjects() {
            return request -> Optional.ofNullable(request.getHeader("x-session"))
                    .map(id -> new Enforcer.Subject(id, SubjectKind.USER, null, Map.of()));
        }
    }

    private HttpResponse<String> send(
            ConfigurableApplicationContext application, String method, String path, String... headers) throws Exception {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(Applications.url(application) + path))
                .method(method, HttpRequest.BodyPublishers.noBody());
        for (int i = 0; i < headers.length; i += 2) {
            request.header(headers[i], headers[i + 1]);
        }
        return http.send(request.build(), BodyHandlers.ofString());
    }

    private int status(ConfigurableApplicationContext application, String path, String... headers) throws Exception {
        return send(application, "GET", path, headers).statusCode();
    }

    @Test
    void checkedCallsNeedAnAllowOfTheApi() throws Exception {
        extauthz.decisions.put("invoice:read", "allow");
        extauthz.decisions.put("who", "allow");
        String[] bearer = {"Authorization", "Bearer " + TOKEN};
        try (var application = Applications.start(extauthz.url(), CONTROLLERS,
                "extauthz.direct-calls=check", "extauthz.direct-calls-permit=/invoices/all")) {
            assertEquals("invoice 7", send(application, "GET", "/invoices/7", bearer).body());
            ScriptedExtauthz.Asked asked = extauthz.checks.take();
            assertEquals("Bearer " + TOKEN, asked.authorization());
            assertEquals(null, asked.key());
            assertEquals(
                    Map.of("resource", "invoice:read", "action", "read",
                            "attributes", Map.of("resource", Map.of("number", "7"))),
                    asked.body());

            HttpResponse<String> denied = send(application, "DELETE", "/invoices/7", bearer);
            assertEquals(403, denied.statusCode());
            assertEquals("{\"error\":\"forbidden\",\"reason\":\"no_matching_rule\",\"decision_id\":\"0190-1\"}", denied.body());
            extauthz.checks.take();

            HttpResponse<String> anonymous = send(application, "GET", "/invoices/7");
            assertEquals(401, anonymous.statusCode());
            assertEquals("Bearer", anonymous.headers().firstValue("WWW-Authenticate").orElse(""));
            assertEquals(403, status(application, "/internal", bearer));
            assertEquals(200, status(application, "/invoices/all"));
            // The static resources of Spring MVC declare nothing, too.
            assertEquals(403, status(application, "/nothing", bearer));
            assertTrue(extauthz.checks.isEmpty());

            // Headers of the caller prove nothing, and no handler sees them.
            assertEquals(401, status(application, "/invoices/7", "x-auth-subject", "alice", "x-auth-kind", "user"));
            String who = send(application, "GET", "/who", "Authorization", "Bearer " + TOKEN,
                    "x-auth-subject", "alice", "x-auth-kind", "user", "x-auth-assertion", "a.b.c").body();
            assertEquals("{\"caller\":\"none\",\"header\":\"none\",\"principal\":\"none\"}", who);
            assertEquals(401, status(application, "/me", bearer));

            extauthz.close();
            HttpResponse<String> away = send(application, "GET", "/invoices/7", bearer);
            assertEquals(503, away.statusCode());
            assertFalse(away.body().contains(TOKEN), away.body());
        }
    }

    @Test
    void serviceKeyAsksAboutTheSubjectOfASession() throws Exception {
        extauthz.decisions.put("invoice:read", "allow");
        var sources = new java.util.ArrayList<Class<?>>(CONTROLLERS);
        sources.add(Session.class);
        try (var application = Applications.start(extauthz.url(), sources, "extauthz.direct-calls=check")) {
            assertEquals(200, status(application, "/invoices/7", "x-session", "bob"));
            ScriptedExtauthz.Asked asked = extauthz.checks.take();
            assertEquals(Applications.KEY, asked.key());
            assertEquals("bob", ((Map<?, ?>) asked.body()).get("subject"));
            assertEquals(401, status(application, "/invoices/7"));
        }
    }

    @Test
    void rejectedCallsNeedAVerifiedAssertion() throws Exception {
        KeyPair key = KeyPairGenerator.getInstance("Ed25519").generateKeyPair();
        byte[] encoded = key.getPublic().getEncoded();
        extauthz.keys = "{\"keys\": [{\"kty\": \"OKP\", \"crv\": \"Ed25519\", \"kid\": \"k1\", \"alg\": \"EdDSA\", \"x\": \""
                + BASE64.encodeToString(Arrays.copyOfRange(encoded, encoded.length - 32, encoded.length)) + "\"}]}";
        String valid = assertion(key, "billing", "alice");
        try (var application = Applications.start(extauthz.url(), CONTROLLERS,
                "extauthz.direct-calls=reject", "extauthz.assertion.issuer=https://extauthz.example.com")) {
            assertEquals(200, status(application, "/internal", "x-auth-assertion", valid));
            assertEquals("alice", send(application, "GET", "/me", "x-auth-assertion", valid).body());
            assertEquals(401, status(application, "/invoices/7"));
            assertEquals(401, status(application, "/invoices/7", "Authorization", "Bearer " + TOKEN));
            assertEquals(401, status(application, "/invoices/7", "x-auth-subject", "alice", "x-auth-kind", "user"));
            assertEquals(401, status(application, "/invoices/7", "x-auth-assertion", valid + "x"));
            assertEquals(401, status(application, "/invoices/7", "x-auth-assertion", valid, "x-auth-assertion", valid));
            assertEquals(401, status(application, "/invoices/7", "x-auth-assertion", assertion(key, "orders", "alice")));

            String agreeing = send(application, "GET", "/who", "x-auth-assertion", valid, "x-auth-subject", "alice",
                    "x-auth-kind", "user", "x-auth-tenant", "default", "x-auth-roles", "finance").body();
            assertEquals("{\"caller\":\"alice\",\"header\":\"alice\",\"principal\":\"alice\"}", agreeing);
            // A header that says something else than the assertion is not seen.
            String forged = send(application, "GET", "/who", "x-auth-assertion", valid, "x-auth-subject", "root",
                    "x-auth-kind", "user", "x-auth-tenant", "default", "x-auth-roles", "finance").body();
            assertEquals("{\"caller\":\"alice\",\"header\":\"none\",\"principal\":\"alice\"}", forged);
        }
    }

    @Test
    void headersAreBelievedWhereTheSettingsSaySo() throws Exception {
        try (var application = Applications.start(extauthz.url(), CONTROLLERS, "extauthz.trust-headers=true")) {
            String who = send(application, "GET", "/who", "x-auth-subject", "zo%C3%AB", "x-auth-kind", "user").body();
            assertEquals("{\"caller\":\"zoë\",\"header\":\"zo%C3%AB\",\"principal\":\"zoë\"}", who);
            assertEquals(200, status(application, "/internal"));
            assertEquals(401, status(application, "/me"));
        }
    }

    @Test
    void headersAreNotBelievedByDefault() throws Exception {
        try (var application = Applications.start(extauthz.url(), CONTROLLERS)) {
            String who = send(application, "GET", "/who", "x-auth-subject", "alice", "x-auth-kind", "user").body();
            assertTrue(who.contains("\"caller\":\"none\""), who);
            assertTrue(who.contains("\"principal\":\"none\""), who);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "extauthz.direct-calls=check, extauthz.trust-headers=true, extauthz.trust-headers is set together",
        "extauthz.direct-calls=reject, extauthz.trust-headers=true, extauthz.trust-headers is set together",
        "extauthz.direct-calls=reject, extauthz.trust-headers=false, needs assertions",
    })
    void settingsThatCannotTellDirectCallsStopTheStart(String calls, String headers, String part) {
        Throwable error = assertThrows(Exception.class,
                () -> Applications.start(extauthz.url(), CONTROLLERS, calls, headers));
        String description = new ExtauthzFailureAnalyzer().analyze(error).getDescription();
        assertTrue(description.contains(part), description);
    }

    @Test
    void optionsThatSpringAnswersItselfAreDenied() throws Exception {
        try (var application = Applications.start(extauthz.url(), CONTROLLERS, "extauthz.direct-calls=check")) {
            assertEquals(403, send(application, "OPTIONS", "/invoices/7", "Authorization", "Bearer " + TOKEN).statusCode());
            assertTrue(extauthz.checks.isEmpty());
        }
    }

    /** The client of the JDK sends no Origin; a preflight carries no credential, and only CORS headers answer it. */
    @Test
    void preflightIsAnsweredWithoutAHandler() throws Exception {
        var sources = new java.util.ArrayList<Class<?>>(CONTROLLERS);
        sources.add(Cors.class);
        try (var application = Applications.start(extauthz.url(), sources, "extauthz.direct-calls=check");
                var socket = new java.net.Socket("127.0.0.1", URI.create(Applications.url(application)).getPort())) {
            socket.getOutputStream().write(("OPTIONS /invoices/7 HTTP/1.1\r\nHost: localhost\r\nOrigin: https://a.example\r\n"
                    + "Access-Control-Request-Method: DELETE\r\nConnection: close\r\n\r\n").getBytes(StandardCharsets.US_ASCII));
            String answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.US_ASCII);
            assertTrue(answer.startsWith("HTTP/1.1 200"), answer);
            assertTrue(answer.contains("Access-Control-Allow-Origin: https://a.example"), answer);
            assertFalse(answer.contains("deleted"), answer);
            assertTrue(extauthz.checks.isEmpty());
        }
    }

    static class Cors implements WebMvcConfigurer {

        @Override
        public void addCorsMappings(CorsRegistry registry) {
            registry.addMapping("/**").allowedOrigins("https://a.example").allowedMethods("DELETE");
        }
    }

    private static String assertion(KeyPair key, String audience, String subject) throws Exception {
        long now = Instant.now().getEpochSecond();
        String header = encoded("{\"typ\": \"assertion+jwt\", \"alg\": \"EdDSA\", \"kid\": \"k1\"}");
        String payload = encoded("""
                {"iss": "https://extauthz.example.com", "aud": "%s", "sub": "%s", "kind": "user", "tenant": "default",
                 "roles": ["finance"], "iat": %d, "exp": %d}""".formatted(audience, subject, now, now + 60));
        Signature signature = Signature.getInstance("Ed25519");
        signature.initSign(key.getPrivate());
        signature.update((header + "." + payload).getBytes(StandardCharsets.US_ASCII));
        return header + "." + payload + "." + BASE64.encodeToString(signature.sign());
    }

    private static String encoded(String text) {
        return BASE64.encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }
}
