package io.extauthz.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpServer;
import io.extauthz.samples.Ledger;
import io.extauthz.samples.Manage;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.security.KeyPair;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The programs of {@code docs/java.md}. */
@Timeout(60)
class SamplesTest {

    @Test
    void manageDoesWhatThePageSays() throws Exception {
        var demo = Demo.running();
        String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        for (int run = 0; run < 2; run++) {
            var builder =
                    new ProcessBuilder(java, "-cp", System.getProperty("java.class.path"), Manage.class.getName());
            builder.environment().keySet().removeIf(name -> name.contains("CLIENT") || name.contains("EXTAUTHZ"));
            builder.environment()
                    .putAll(Map.of(
                            "EXTAUTHZ_URL", demo.fact("rest_url"),
                            "AUTH_SERVER_URL", demo.fact("issuer"),
                            "ADMIN_CLIENT_ID", demo.fact("admin_client_id"),
                            "ADMIN_CLIENT_SECRET", demo.fact("admin_client_secret")));
            Process process = builder.redirectErrorStream(true).start();
            String said = new String(process.getInputStream().readAllBytes());
            assertTrue(process.waitFor(30, TimeUnit.SECONDS), said);
            assertEquals("denied no_matching_rule", said.strip());
        }
    }

    @Test
    void theLedgerServesOnlyWhatPassedExtauthz() throws Exception {
        KeyPair key = Keys.Kind.ED25519.generated();
        String jwk = "{\"keys\": [{\"kty\": \"OKP\", \"crv\": \"Ed25519\", \"kid\": \"k\", \"x\": \"" + rawPublic(key)
                + "\"}]}";
        try (var keys = ScriptedServer.of(ScriptedServer.says(200, jwk))) {
            HttpServer server = Ledger.serve(keys.url(), "mesh");
            try {
                long now = System.currentTimeMillis() / 1000;
                String claims = "{\"iss\": \"mesh\", \"aud\": \"%s\", \"sub\": \"alice\", \"kind\": \"user\","
                        + " \"tenant\": \"default\", \"iat\": " + now + ", \"exp\": " + (now + 60) + "}";
                String header = "{\"typ\": \"assertion+jwt\", \"alg\": \"EdDSA\", \"kid\": \"k\"}";
                String good = Keys.Kind.ED25519.signed(key.getPrivate(), header, claims.formatted("ledger"));
                String other = Keys.Kind.ED25519.signed(key.getPrivate(), header, claims.formatted("shop"));

                HttpResponse<String> answer = asked(server, good);
                assertEquals(200, answer.statusCode());
                assertEquals("the ledger, for alice", answer.body());
                assertEquals(403, asked(server, other).statusCode());
                assertEquals(403, asked(server).statusCode());
                assertEquals(403, asked(server, good, good).statusCode());
            } finally {
                server.stop(0);
            }
        }
    }

    /** Returns the 32 octets at the end of the encoding of RFC 8410. */
    private static String rawPublic(KeyPair key) {
        byte[] encoded = key.getPublic().getEncoded();
        return Keys.encoded(java.util.Arrays.copyOfRange(encoded, encoded.length - 32, encoded.length));
    }

    private static HttpResponse<String> asked(HttpServer server, String... assertions) throws Exception {
        var request = HttpRequest.newBuilder(
                URI.create("http://localhost:" + server.getAddress().getPort() + "/"));
        for (String assertion : assertions) {
            request.header(AssertionVerifier.HEADER, assertion);
        }
        return HttpClient.newHttpClient().send(request.build(), HttpResponse.BodyHandlers.ofString());
    }
}
