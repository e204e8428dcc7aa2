package io.extauthz.client;

import static io.extauthz.client.ScriptedServer.DISCONNECTS;
import static io.extauthz.client.ScriptedServer.says;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.extauthz.client.ScriptedServer.Script;
import java.math.BigInteger;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.KeyPair;
import java.security.PublicKey;
import java.security.interfaces.ECPublicKey;
import java.security.interfaces.EdECPublicKey;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

@Timeout(30)
class AssertionVerifierTest {

    private static final Instant NOW = Instant.parse("2026-11-29T10:00:00Z");
    private static final long IAT = NOW.getEpochSecond();
    private static KeyPair p256;
    private static KeyPair ed25519;

    @BeforeAll
    static void generate() throws Exception {
        p256 = Keys.Kind.P256.generated();
        ed25519 = Keys.Kind.ED25519.generated();
    }

    /** Returns the JWK of a key, its numbers in the octets of RFC 7518 and RFC 8037. */
    private static Map<String, Object> jwk(String kid, PublicKey key) {
        var members = new LinkedHashMap<String, Object>();
        members.put("kid", kid);
        if (key instanceof ECPublicKey ec) {
            members.putAll(Map.of("kty", "EC", "crv", "P-256", "alg", "ES256"));
            members.put("x", Keys.encoded(octets(ec.getW().getAffineX())));
            members.put("y", Keys.encoded(octets(ec.getW().getAffineY())));
        } else if (key instanceof EdECPublicKey edwards) {
            members.putAll(Map.of("kty", "OKP", "crv", "Ed25519"));
            byte[] big = octets(edwards.getPoint().getY());
            byte[] little = new byte[32];
            for (int index = 0; index < 32; index++) {
                little[index] = big[31 - index];
            }
            little[31] |= (byte) (edwards.getPoint().isXOdd() ? 0x80 : 0);
            members.put("x", Keys.encoded(little));
        }
        return members;
    }

    private static byte[] octets(BigInteger number) {
        byte[] signed = number.toByteArray();
        byte[] octets = new byte[32];
        int length = Math.min(32, signed.length);
        System.arraycopy(signed, signed.length - length, octets, 32 - length, length);
        return octets;
    }

    private static Script keySet(Object... keys) {
        return says(200, new String(Json.write(Map.of("keys", List.of(keys))), StandardCharsets.US_ASCII));
    }

    private static Script published() {
        return keySet(
                jwk("p", p256.getPublic()), jwk("e", ed25519.getPublic()), "noise", Map.of("kid", "x", "kty", "RSA"));
    }

    private static AssertionVerifier.Builder verifier(ScriptedServer server) {
        return AssertionVerifier.builder(URI.create(server.url() + "/.well-known/jwks.json"), "mesh", "billing")
                .clock(Clock.fixed(NOW, ZoneOffset.UTC));
    }

    private static Map<String, Object> claims() {
        var claims = new LinkedHashMap<String, Object>();
        claims.put("iss", "mesh");
        claims.put("aud", "billing");
        claims.put("sub", "alice");
        claims.put("kind", "user");
        claims.put("roles", List.of("finance", "ü"));
        claims.put("tenant", "default");
        claims.put("domain", "emea");
        claims.put("iat", IAT);
        claims.put("exp", IAT + 60);
        return claims;
    }

    private static String header(String alg, String kid) {
        return "{\"typ\": \"assertion+jwt\", \"alg\": \"" + alg + "\", \"kid\": \"" + kid + "\"}";
    }

    private static String token(String header, String claims) {
        try {
            return Keys.Kind.P256.signed(p256.getPrivate(), header, claims);
        } catch (java.security.GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
    }

    private static String token(Map<String, Object> claims) {
        return token(header("ES256", "p"), new String(Json.write(claims), StandardCharsets.US_ASCII));
    }

    private static String with(String name, Object value) {
        var claims = claims();
        claims.put(name, value);
        return token(claims);
    }

    private static String without(String name) {
        var claims = claims();
        claims.remove(name);
        return token(claims);
    }

    @ParameterizedTest
    @EnumSource(
            value = Keys.Kind.class,
            names = {"P256", "ED25519"})
    void anAssertionSaysWhoCalled(Keys.Kind kind) throws Exception {
        boolean edwards = kind == Keys.Kind.ED25519;
        String token = kind.signed(
                (edwards ? ed25519 : p256).getPrivate(),
                header(kind.algorithm(), edwards ? "e" : "p"),
                new String(Json.write(claims()), StandardCharsets.US_ASCII));
        try (var server = ScriptedServer.of(published());
                var verifier = verifier(server).build()) {
            var expected = new VerifiedAssertion(
                    "alice", "user", List.of("finance", "ü"), "default", "emea", NOW, NOW.plusSeconds(60));
            assertEquals(expected, verifier.verify(token));
            assertEquals(expected, verifier.verify(List.of(token)));
            assertEquals(1, server.requests().size());
        }
    }

    @Test
    void whatIsLeftOutIsNull() {
        var claims = claims();
        List.of("sub", "roles", "domain").forEach(claims::remove);
        claims.put("kind", "anonymous");
        try (var server = ScriptedServer.of(published());
                var verifier = verifier(server).build()) {
            VerifiedAssertion found = verifier.verify(token(claims));
            assertNull(found.subject());
            assertNull(found.roles());
            assertNull(found.domain());
        }
    }

    @Test
    void everythingElseIsRefused() throws Exception {
        String good = token(claims());
        String json = new String(Json.write(claims()), StandardCharsets.US_ASCII);
        String[] parts = good.split("\\.");
        byte[] signature = Base64.getUrlDecoder().decode(parts[2]);
        byte[] changed = signature.clone();
        changed[40] ^= 1;
        var cases = new LinkedHashMap<String, String>();
        cases.put("", "has no x-auth-assertion");
        cases.put("a".repeat(16385), "too long");
        cases.put(good + "ü", "not ASCII");
        cases.put(parts[0] + "." + parts[1], "not a signed JWT");
        cases.put(good + ".x", "not a signed JWT");
        cases.put(good + "=", "not base64url");
        cases.put(" " + good, "not base64url");
        cases.put("é." + parts[1] + "." + parts[2], "not ASCII");
        cases.put(Keys.encoded("[]") + "." + parts[1] + "." + parts[2], "header of the assertion is not a JSON object");
        cases.put(token("{\"typ\": \"JWT\", \"alg\": \"ES256\", \"kid\": \"p\"}", json), "not of the type");
        cases.put(
                token("{\"typ\": \"assertion+jwt\", \"crit\": [], \"alg\": \"ES256\", \"kid\": \"p\"}", json),
                "not of the type");
        cases.put(token("{\"typ\": \"assertion+jwt\", \"alg\": \"ES256\"}", json), "names no key");
        cases.put(
                token("{\"typ\": \"assertion+jwt\", \"alg\": \"ES256\", \"kid\": \"q\", \"kid\": \"p\"}", json),
                "not a JSON object");
        cases.put(token(header("ES256", "other"), json), "no published key");
        cases.put(token(header("ES256", "e"), json), "does not verify");
        for (String algorithm : List.of("none", "EdDSA", "HS256", "ES384", "es256")) {
            cases.put(token(header(algorithm, "p"), json), "does not verify");
        }
        cases.put(parts[0] + "." + parts[1] + "." + Keys.encoded(changed), "does not verify");
        cases.put(parts[0] + "." + parts[1] + "." + Keys.encoded(new byte[64]), "does not verify");
        cases.put(parts[0] + "." + parts[1] + ".", "does not verify");
        cases.put(parts[0] + "." + parts[1] + "." + Keys.encoded(Arrays.copyOf(signature, 65)), "does not verify");
        cases.put(parts[0] + "." + Keys.encoded(json.replace("alice", "admin")) + "." + parts[2], "does not verify");
        cases.put(token(header("ES256", "p"), "[]"), "payload of the assertion is not a JSON object");
        cases.put(token(header("ES256", "p"), json.replace("{", "{\"sub\": \"root\", ")), "not a JSON object");
        cases.put(with("iss", "other"), "another issuer");
        cases.put(without("iss"), "another issuer");
        cases.put(with("aud", "shop"), "another service");
        cases.put(with("aud", List.of("billing")), "another service");
        cases.put(without("iat"), "no times");
        cases.put(with("exp", "soon"), "no times");
        cases.put(with("exp", new java.math.BigDecimal(IAT + 60 + ".0")), "no times");
        cases.put(with("exp", Long.MAX_VALUE), "no times");
        cases.put(with("exp", BigInteger.TEN.pow(30)), "no times");
        cases.put(with("exp", IAT + 301), "too long");
        cases.put(with("exp", IAT), "too long");
        cases.put(with("iat", IAT + 59), "from the future");
        cases.put(without("kind"), "no kind or no tenant");
        cases.put(with("tenant", null), "no kind or no tenant");
        cases.put(with("sub", 7), "not a string");
        cases.put(with("domain", List.of()), "not a string");
        cases.put(without("sub"), "names no subject");
        cases.put(with("roles", "finance"), "not a list of strings");
        cases.put(with("roles", List.of("finance", 7)), "not a list of strings");
        try (var server = ScriptedServer.of(published());
                var verifier = verifier(server).build()) {
            cases.forEach((token, problem) -> {
                var error = assertThrows(AssertionRejectedException.class, () -> verifier.verify(token), token);
                assertTrue(error.getMessage().contains(problem), problem + ": " + error.getMessage());
                assertFalse(!token.isEmpty() && error.getMessage().contains(token));
            });
            assertThrows(AssertionRejectedException.class, () -> verifier.verify((String) null));
            assertThrows(AssertionRejectedException.class, () -> verifier.verify(List.of()));
            assertThrows(AssertionRejectedException.class, () -> verifier.verify(List.of(good, good)));
            assertEquals("alice", verifier.verify(good).subject());
        }
    }

    @Test
    void anAssertionIsRefusedFromItsExpiryOn() {
        String token = token(claims());
        try (var server = ScriptedServer.of(published())) {
            for (long after : new long[] {-5, 0, 64}) {
                try (var verifier = verifier(server)
                        .clock(Clock.fixed(NOW.plusSeconds(after), ZoneOffset.UTC))
                        .build()) {
                    assertEquals("alice", verifier.verify(token).subject());
                }
            }
            for (long after : new long[] {-6, 65}) {
                try (var verifier = verifier(server)
                        .clock(Clock.fixed(NOW.plusSeconds(after), ZoneOffset.UTC))
                        .build()) {
                    assertThrows(AssertionRejectedException.class, () -> verifier.verify(token));
                }
            }
            var strict = verifier(server).leeway(Duration.ZERO).clock(Clock.fixed(NOW.plusSeconds(60), ZoneOffset.UTC));
            try (var verifier = strict.build()) {
                assertThrows(AssertionRejectedException.class, () -> verifier.verify(token));
            }
        }
    }

    @Test
    void anUnknownKeyIdFetchesTheKeysAgainButNotEachTime() throws Exception {
        var other = Keys.Kind.P256.generated();
        String json = new String(Json.write(claims()), StandardCharsets.US_ASCII);
        String rotated = Keys.Kind.P256.signed(other.getPrivate(), header("ES256", "new"), json);
        try (var server = ScriptedServer.of(published(), keySet(jwk("new", other.getPublic())));
                var verifier = verifier(server).build()) {
            verifier.verify(token(claims()));
            long fetched = System.nanoTime();
            for (int number = 0; number < 50; number++) {
                String made = token(header("ES256", "made-up-" + number), json);
                assertThrows(AssertionRejectedException.class, () -> verifier.verify(made));
            }
            boolean quick = System.nanoTime() - fetched < 900_000_000L;
            assertTrue(!quick || server.requests().size() == 1);
            while (true) {
                try {
                    assertEquals("alice", verifier.verify(rotated).subject());
                    break;
                } catch (AssertionRejectedException error) {
                    Thread.onSpinWait();
                }
            }
            assertThrows(AssertionRejectedException.class, () -> verifier.verify(token(claims())));
        }
    }

    @Test
    void withoutUsableKeysNothingIsVerified() {
        for (Script answer : List.of(
                DISCONNECTS,
                says(404, null),
                says(302, null, "location", "http://localhost:9/"),
                says(200, "[]"),
                says(200, "{\"keys\": {}}"),
                says(200, "{\"keys\": [], \"keys\": []}"),
                says(200, "{\"keys\": [" + " ".repeat(262144) + "]}"))) {
            try (var server = ScriptedServer.of(answer);
                    var verifier = verifier(server).build()) {
                var error = assertThrows(UnreachableException.class, () -> verifier.verify(token(claims())));
                assertTrue(error.getMessage().contains("/.well-known/jwks.json"), error.getMessage());
                // The JDK asks once more after a lost connection.
                assertEquals(answer == DISCONNECTS ? 2 : 1, server.requests().size());
            }
        }
    }

    @Test
    void aKeyThatCannotBeUsedIsLeftOut() {
        var outside = jwk("p", p256.getPublic());
        outside.put("y", Keys.encoded(octets(BigInteger.TWO)));
        var large = jwk("p", p256.getPublic());
        large.put("x", Keys.encoded(octets(BigInteger.TWO.pow(256).subtract(BigInteger.ONE))));
        var otherUse = jwk("p", p256.getPublic());
        otherUse.put("alg", "ES384");
        var cut = jwk("e", ed25519.getPublic());
        cut.put("x", Keys.encoded(new byte[31]));
        var number = jwk("e", ed25519.getPublic());
        number.put("x", 7);
        for (Object jwk : List.of(outside, large, otherUse, cut, number)) {
            byte[] document = Json.write(Map.of("keys", List.of(jwk)));
            assertEquals(Map.of(), PublicKeys.read(document), jwk.toString());
        }
    }

    @Test
    void threadsAtOnceShareOneFetch() throws Exception {
        try (var server = ScriptedServer.of(published());
                var verifier = verifier(server).build()) {
            String token = token(claims());
            var threads = Executors.newFixedThreadPool(8);
            try {
                var calls = IntStream.range(0, 64)
                        .mapToObj(call -> CompletableFuture.supplyAsync(() -> verifier.verify(token), threads))
                        .toList();
                for (var call : calls) {
                    assertEquals("alice", call.get().subject());
                }
            } finally {
                threads.shutdown();
            }
            assertEquals(1, server.requests().size());
        }
    }

    @Test
    void theVerifierSaysWhatIsWrongWithItsArguments() {
        URI keys = URI.create("https://mesh/keys");
        for (String address : List.of("", "ftp://x", "https://", "https://u:p@x")) {
            assertThrows(
                    IllegalArgumentException.class,
                    () -> AssertionVerifier.builder(
                            address.equals("https://") ? URI.create("https:///x") : URI.create(address), "i", "a"));
        }
        assertThrows(IllegalArgumentException.class, () -> AssertionVerifier.builder(keys, "", "a"));
        assertThrows(IllegalArgumentException.class, () -> AssertionVerifier.builder(keys, "i", ""));
        assertThrows(
                IllegalArgumentException.class,
                () -> AssertionVerifier.builder(keys, "i", "a").leeway(Duration.ofSeconds(-1)));
        for (Duration timeout : List.of(Duration.ZERO, Duration.ofSeconds(-1), Duration.ofSeconds(Long.MAX_VALUE))) {
            assertThrows(
                    IllegalArgumentException.class,
                    () -> AssertionVerifier.builder(keys, "i", "a")
                            .timeout(timeout)
                            .build());
        }
    }
}
