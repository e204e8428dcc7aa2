package io.extauthz.client;

import java.io.IOException;
import java.io.InputStream;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.SecureRandom;
import java.security.Signature;
import java.security.interfaces.ECPrivateKey;
import java.security.interfaces.EdECPrivateKey;
import java.security.interfaces.RSAPrivateKey;
import java.security.spec.InvalidKeySpecException;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The private key of a client, and the assertions that it signs (RFC 7523 3). */
final class SigningKey {

    private static final Pattern PKCS8 =
            Pattern.compile("-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\\s]+)-----END PRIVATE KEY-----");
    private static final int LEAST_RSA_BITS = 2048;
    private static final int LIFETIME_S = 60;
    private static final BigInteger P256_ORDER =
            new BigInteger("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16);
    private static final BigInteger P384_ORDER = new BigInteger(
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16);
    private static final BigInteger P521_ORDER = BigInteger.TWO
            .pow(521)
            .subtract(new BigInteger("5ae79787c40d069948033feb708f65a2fc44a36477663b851449048e16ec79bf7", 16));
    private static final int MOST_BYTES = 65536;
    private static final SecureRandom RANDOM = new SecureRandom();

    private final PrivateKey key;
    private final String algorithm;
    private final String signature;

    private SigningKey(PrivateKey key, String algorithm, String signature) {
        this.key = key;
        this.algorithm = algorithm;
        this.signature = signature;
    }

    /**
     * Reads the key of a file.
     *
     * @throws IllegalArgumentException there is none that can be used; the text never quotes the file's content
     */
    static SigningKey read(Path file) {
        String text;
        try (InputStream stream = Files.newInputStream(file)) {
            text = new String(stream.readNBytes(MOST_BYTES), StandardCharsets.US_ASCII);
        } catch (IOException error) {
            throw new IllegalArgumentException("the key file '" + file + "' cannot be read: " + error, error);
        }
        Matcher found = PKCS8.matcher(text);
        if (!found.find()) {
            throw new IllegalArgumentException("the key file '" + file + "' has no line BEGIN PRIVATE KEY: it must have"
                    + " one private key in PKCS#8 without a password (openssl pkcs8 -topk8 -nocrypt writes it)");
        }
        try {
            byte[] encoded = Base64.getMimeDecoder().decode(found.group(1));
            for (String kind : List.of("RSA", "EC", "Ed25519")) {
                try {
                    return of(KeyFactory.getInstance(kind).generatePrivate(new PKCS8EncodedKeySpec(encoded)), file);
                } catch (InvalidKeySpecException error) {
                    // Of another kind, or not a key at all.
                }
            }
        } catch (GeneralSecurityException error) {
            throw new IllegalArgumentException("the key file '" + file + "' cannot be used: " + error, error);
        }
        throw unusable(file);
    }

    private static SigningKey of(PrivateKey key, Path file) {
        if (key instanceof RSAPrivateKey rsa && rsa.getModulus().bitLength() >= LEAST_RSA_BITS) {
            return new SigningKey(key, "RS256", "SHA256withRSA");
        }
        if (key instanceof ECPrivateKey ec && ec.getParams().getOrder().equals(P256_ORDER)) {
            return new SigningKey(key, "ES256", "SHA256withECDSAinP1363Format");
        }
        if (key instanceof ECPrivateKey ec && ec.getParams().getOrder().equals(P384_ORDER)) {
            return new SigningKey(key, "ES384", "SHA384withECDSAinP1363Format");
        }
        if (key instanceof ECPrivateKey ec && ec.getParams().getOrder().equals(P521_ORDER)) {
            return new SigningKey(key, "ES512", "SHA512withECDSAinP1363Format");
        }
        if (key instanceof EdECPrivateKey) {
            return new SigningKey(key, "EdDSA", "Ed25519");
        }
        throw unusable(file);
    }

    private static IllegalArgumentException unusable(Path file) {
        return new IllegalArgumentException("the key file '" + file + "' has no usable key: RSA of at least "
                + LEAST_RSA_BITS + " bits, P-256, P-384, P-521 or Ed25519");
    }

    /** Returns an assertion of a client for an issuer, valid for a minute from {@code now} (POSIX seconds). */
    String assertion(String issuer, String clientId, String keyId, long now) {
        var header = new LinkedHashMap<String, Object>();
        header.put("typ", "JWT");
        header.put("alg", algorithm);
        Documents.put(header, "kid", keyId);
        byte[] id = new byte[16];
        RANDOM.nextBytes(id);
        var claims = new LinkedHashMap<String, Object>();
        claims.put("iss", clientId);
        claims.put("sub", clientId);
        claims.put("aud", issuer);
        claims.put("jti", base64url(id));
        claims.put("iat", now);
        claims.put("exp", now + LIFETIME_S);
        String signed = base64url(Json.write(header)) + "." + base64url(Json.write(claims));
        try {
            Signature signing = Signature.getInstance(signature);
            signing.initSign(key);
            signing.update(signed.getBytes(StandardCharsets.US_ASCII));
            return signed + "." + base64url(signing.sign());
        } catch (GeneralSecurityException error) {
            throw new ExtauthzException(
                    "the client's key cannot sign: " + error.getClass().getSimpleName(), error);
        }
    }

    private static String base64url(byte[] octets) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(octets);
    }
}
