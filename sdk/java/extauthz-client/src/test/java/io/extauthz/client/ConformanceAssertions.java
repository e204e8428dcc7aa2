package io.extauthz.client;

import io.extauthz.client.ConformanceComparison.Request;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;

/** The private keys of the cases, and what the clients sign with them (RFC 7523 3). */
final class ConformanceAssertions {

    private static final long LONGEST_LIFE_S = 300;
    private static final Map<String, KeyPair> KEYS = new HashMap<>();

    private final Path folder;
    private final Supplier<Instant> now;
    private final Set<String> seen = new HashSet<>();

    ConformanceAssertions(Path folder, Supplier<Instant> now) {
        this.folder = folder;
        this.now = now;
    }

    /** Returns the name of a file with a private key. */
    String keyFile(String kind) {
        String encoded = Base64.getMimeEncoder().encodeToString(key(kind).getPrivate().getEncoded());
        try {
            return Files.writeString(
                            folder.resolve(kind + ".pem"),
                            "-----BEGIN PRIVATE KEY-----\n" + encoded + "\n-----END PRIVATE KEY-----\n")
                    .toString();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static synchronized KeyPair key(String kind) {
        return KEYS.computeIfAbsent(kind, ConformanceAssertions::generated);
    }

    private static KeyPair generated(String kind) {
        try {
            KeyPairGenerator generator = KeyPairGenerator.getInstance(
                    switch (kind) {
                        case "rs256" -> "RSA";
                        case "eddsa" -> "Ed25519";
                        default -> "EC";
                    });
            switch (kind) {
                case "rs256" -> generator.initialize(2048);
                case "es256" -> generator.initialize(new ECGenParameterSpec("secp256r1"));
                case "es384" -> generator.initialize(new ECGenParameterSpec("secp384r1"));
                default -> {}
            }
            return generator.generateKeyPair();
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
    }

    List<String> differences(Map<?, ?> exchange, Request request) {
        List<String> sent = request.form().stream()
                .filter(each -> each.startsWith("client_assertion\0"))
                .map(each -> each.substring("client_assertion\0".length()))
                .toList();
        if (sent.size() != 1 || sent.get(0).split("\\.").length != 3) {
            return List.of("the client assertions are " + sent);
        }
        String[] parts = sent.get(0).split("\\.");
        Map<?, ?> expected = ConformanceCases.object(exchange, "assertion");
        var header = new LinkedHashMap<Object, Object>((Map<?, ?>) Json.read(decoded(parts[0])));
        var claims = new LinkedHashMap<Object, Object>((Map<?, ?>) Json.read(decoded(parts[1])));
        Object id = claims.remove("jti");
        Object issued = claims.remove("iat");
        Object expires = claims.remove("exp");
        var problems = new ArrayList<String>();
        problems.addAll(ConformanceComparison.of(expected.get("header"), header, "the assertion's header"));
        problems.addAll(ConformanceComparison.of(expected.get("claims"), claims, "the assertion's claims"));
        if (!(id instanceof String text) || text.length() < 16 || !seen.add(text)) {
            problems.add("the assertion's jti is " + id);
        }
        if (!(issued instanceof Long at) || Math.abs(at - now.get().getEpochSecond()) > 1) {
            problems.add("the assertion's iat is " + issued);
        } else if (!(expires instanceof Long until) || until <= at || until > at + LONGEST_LIFE_S) {
            problems.add("the assertion's exp is " + expires);
        }
        if (!verifies(String.valueOf(header.get("alg")), parts)) {
            problems.add("the assertion's signature is wrong");
        }
        return problems;
    }

    private static boolean verifies(String algorithm, String[] parts) {
        try {
            Signature signature = Signature.getInstance(
                    switch (algorithm) {
                        case "RS256" -> "SHA256withRSA";
                        case "ES256" -> "SHA256withECDSAinP1363Format";
                        case "ES384" -> "SHA384withECDSAinP1363Format";
                        default -> "Ed25519";
                    });
            signature.initVerify(key(algorithm.toLowerCase(java.util.Locale.ROOT)).getPublic());
            signature.update((parts[0] + "." + parts[1]).getBytes(StandardCharsets.US_ASCII));
            return signature.verify(decoded(parts[2]));
        } catch (GeneralSecurityException error) {
            return false;
        }
    }

    private static byte[] decoded(String text) {
        return Base64.getUrlDecoder().decode(text);
    }
}
