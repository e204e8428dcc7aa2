package io.extauthz.quarkus.deployment;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.sun.net.httpserver.HttpServer;
import io.quarkus.test.QuarkusUnitTest;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.interfaces.ECPublicKey;
import java.security.spec.ECGenParameterSpec;
import java.util.Arrays;
import java.util.Base64;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** An application that believes assertions, asks about each other call, and whose extauthz is away. */
class AssertionTest {

    private static final String SECRET_KEY = "io.extauthz.test.assertion-key";
    private static final String KEYS_URL = "io.extauthz.test.keys-url";
    private static HttpServer server;

    @RegisterExtension
    static final QuarkusUnitTest APPLICATION = new QuarkusUnitTest()
            .withApplicationRoot(jar -> jar.addClasses(Answers.class, Guarded.class))
            .overrideConfigKey("quarkus.application.name", "quarkus-guarded")
            .overrideRuntimeConfigKey("extauthz.registration.enabled", "false")
            .overrideRuntimeConfigKey("extauthz.direct-calls", "check")
            .overrideRuntimeConfigKey("extauthz.attempts", "1")
            .overrideRuntimeConfigKey("extauthz.url", "http://127.0.0.1:1")
            .overrideRuntimeConfigKey("EXTAUTHZ_SERVICE_API_KEY", "sak_live_0123456789abcdef0123456789abcdef")
            .overrideRuntimeConfigKey("extauthz.assertion.issuer", "https://extauthz.test")
            .overrideRuntimeConfigKey("extauthz.assertion.keys-url", keysUrl())
            .setAfterUndeployListener(() -> server.stop(0));

    /** Publishes a key. Quarkus loads this class once more for the test, which finds the key by a property. */
    private static String keysUrl() {
        String known = System.getProperty(KEYS_URL);
        if (known != null) {
            return known;
        }
        try {
            KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
            generator.initialize(new ECGenParameterSpec("secp256r1"));
            KeyPair pair = generator.generateKeyPair();
            System.getProperties().put(SECRET_KEY, pair.getPrivate());
            ECPublicKey key = (ECPublicKey) pair.getPublic();
            byte[] keys = ("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"alg\":\"ES256\",\"use\":\"sig\",\"kid\":\"k\","
                    + "\"x\":\"" + coordinate(key.getW().getAffineX()) + "\",\"y\":\""
                    + coordinate(key.getW().getAffineY()) + "\"}]}").getBytes(StandardCharsets.US_ASCII);
            server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
            server.createContext("/jwks.json", exchange -> {
                exchange.getResponseHeaders().add("Content-Type", "application/json");
                exchange.sendResponseHeaders(200, keys.length);
                exchange.getResponseBody().write(keys);
                exchange.close();
            });
            server.start();
            String url = "http://127.0.0.1:" + server.getAddress().getPort() + "/jwks.json";
            System.setProperty(KEYS_URL, url);
            return url;
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
    }

    private static String coordinate(BigInteger number) {
        byte[] octets = number.toByteArray();
        byte[] whole = new byte[32];
        int length = Math.min(32, octets.length);
        System.arraycopy(octets, octets.length - length, whole, 32 - length, length);
        return base64(whole);
    }

    private static String base64(byte[] octets) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(octets);
    }

    private static String assertion(String audience) {
        long now = System.currentTimeMillis() / 1000;
        String text = base64("{\"typ\":\"assertion+jwt\",\"alg\":\"ES256\",\"kid\":\"k\"}".getBytes(StandardCharsets.US_ASCII))
                + "." + base64(("{\"iss\":\"https://extauthz.test\",\"aud\":\"" + audience + "\",\"sub\":\"alice\","
                        + "\"kind\":\"user\",\"tenant\":\"default\",\"roles\":[\"finance\"],\"iat\":" + now
                        + ",\"exp\":" + (now + 60) + "}").getBytes(StandardCharsets.US_ASCII));
        try {
            Signature signature = Signature.getInstance("SHA256withECDSAinP1363Format");
            signature.initSign((PrivateKey) System.getProperties().get(SECRET_KEY));
            signature.update(text.getBytes(StandardCharsets.US_ASCII));
            return text + "." + base64(signature.sign());
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
    }

    @Test
    void aValidAssertionNamesTheCaller() {
        String valid = assertion("quarkus-guarded");

        assertEquals("alice alice true",
                Answers.send("GET", "/guarded/7/blocking", "x-auth-assertion", valid).body());
        assertEquals("alice true", Answers.send("GET", "/guarded/7/event-loop", "x-auth-assertion", valid).body());
        assertEquals("7/3", Answers.send("GET", "/guarded/7/below/3", "x-auth-assertion", valid).body());
    }

    @Test
    void otherAssertionsDoNot() {
        String valid = assertion("quarkus-guarded");
        String broken = valid.substring(0, valid.length() - 4) + (valid.endsWith("AAAA") ? "BBBB" : "AAAA");
        for (String other : Arrays.asList(assertion("another-service"), broken, "nonsense")) {
            assertEquals(401, Answers.send("GET", "/guarded/7/blocking", "x-auth-assertion", other).statusCode());
        }
        assertEquals(401, Answers.send("GET", "/guarded/7/blocking",
                "x-auth-assertion", valid, "x-auth-assertion", valid).statusCode());
        assertEquals(401, Answers.send("GET", "/guarded/7/blocking",
                "x-auth-subject", "alice", "x-auth-kind", "user").statusCode());
    }

    @Test
    void withoutAnAnswerOfTheApiATokenIsNotEnough() {
        for (String path : new String[] {"/guarded/7/blocking", "/guarded/7/event-loop", "/guarded/7/below/3"}) {
            var denied = Answers.send("GET", path, "Authorization", "Bearer abc.def.ghi");
            assertEquals(503, denied.statusCode(), path);
            assertEquals("1", denied.headers().firstValue("Retry-After").orElseThrow(), path);
        }
        assertEquals(403, Answers.send("GET", "/guarded/7/undeclared", "Authorization", "Bearer abc").statusCode());
    }
}
