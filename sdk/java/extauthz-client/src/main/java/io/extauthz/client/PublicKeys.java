package io.extauthz.client;

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.AlgorithmParameters;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.interfaces.EdECPublicKey;
import java.security.spec.ECFieldFp;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.security.spec.EdECPoint;
import java.security.spec.EdECPublicKeySpec;
import java.security.spec.NamedParameterSpec;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The keys of a JWK Set (RFC 7517) that sign assertions: P-256 with ES256, Ed25519 with EdDSA. */
final class PublicKeys {

    private static final int OCTETS = 32;
    private static final ECParameterSpec P256 = p256();

    private PublicKeys() {}

    /** Returns the keys by id; entries that cannot be used are left out. Null for another document. */
    static Map<String, PublicKey> read(byte[] text) {
        if (!(Json.read(text) instanceof Map<?, ?> document && document.get("keys") instanceof List<?> entries)) {
            return null;
        }
        var keys = new HashMap<String, PublicKey>();
        for (Object entry : entries) {
            if (entry instanceof Map<?, ?> jwk && jwk.get("kid") instanceof String kid) {
                PublicKey key = key(jwk);
                if (key != null) {
                    keys.put(kid, key);
                }
            }
        }
        return keys;
    }

    private static PublicKey key(Map<?, ?> jwk) {
        try {
            Object algorithm = jwk.get("alg");
            if ("OKP".equals(jwk.get("kty"))
                    && "Ed25519".equals(jwk.get("crv"))
                    && (algorithm == null || algorithm.equals("EdDSA"))) {
                return ed25519(octets(jwk.get("x")));
            }
            if ("EC".equals(jwk.get("kty"))
                    && "P-256".equals(jwk.get("crv"))
                    && (algorithm == null || algorithm.equals("ES256"))) {
                return p256(new BigInteger(1, octets(jwk.get("x"))), new BigInteger(1, octets(jwk.get("y"))));
            }
        } catch (GeneralSecurityException | IllegalArgumentException error) {
            return null;
        }
        return null;
    }

    private static PublicKey ed25519(byte[] octets) throws GeneralSecurityException {
        if (octets.length != OCTETS) {
            throw new IllegalArgumentException("a key of Ed25519 has 32 octets");
        }
        // RFC 8032 5.1.2: little-endian, the highest bit is the sign of x.
        byte[] big = new byte[OCTETS];
        for (int index = 0; index < OCTETS; index++) {
            big[index] = octets[OCTETS - 1 - index];
        }
        boolean odd = (big[0] & 0x80) != 0;
        big[0] &= 0x7f;
        return KeyFactory.getInstance("Ed25519")
                .generatePublic(
                        new EdECPublicKeySpec(NamedParameterSpec.ED25519, new EdECPoint(odd, new BigInteger(1, big))));
    }

    private static PublicKey p256(BigInteger x, BigInteger y) throws GeneralSecurityException {
        BigInteger p = ((ECFieldFp) P256.getCurve().getField()).getP();
        BigInteger right = x.pow(3)
                .add(P256.getCurve().getA().multiply(x))
                .add(P256.getCurve().getB())
                .mod(p);
        // The JDK takes points that are not on the curve.
        if (x.compareTo(p) >= 0 || y.compareTo(p) >= 0 || !y.pow(2).mod(p).equals(right)) {
            throw new IllegalArgumentException("the point is not on the curve");
        }
        return KeyFactory.getInstance("EC").generatePublic(new ECPublicKeySpec(new ECPoint(x, y), P256));
    }

    private static ECParameterSpec p256() {
        try {
            AlgorithmParameters parameters = AlgorithmParameters.getInstance("EC");
            parameters.init(new ECGenParameterSpec("secp256r1"));
            return parameters.getParameterSpec(ECParameterSpec.class);
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException("this JVM has no P-256", error);
        }
    }

    /** Tells whether a key has signed an input. */
    static boolean verifies(PublicKey key, Object algorithm, String input, byte[] signature) {
        // INVARIANT: the kind of the key fixes the algorithm (RFC 8725 3.1); the header has only to agree.
        boolean edwards = key instanceof EdECPublicKey;
        if (!(edwards ? "EdDSA" : "ES256").equals(algorithm) || signature.length != 2 * OCTETS) {
            return false;
        }
        if (!edwards && !(inRange(signature, 0) && inRange(signature, OCTETS))) {
            return false;
        }
        try {
            Signature verifying = Signature.getInstance(edwards ? "Ed25519" : "SHA256withECDSAinP1363Format");
            verifying.initVerify(key);
            verifying.update(input.getBytes(StandardCharsets.US_ASCII));
            return verifying.verify(signature);
        } catch (GeneralSecurityException error) {
            return false;
        }
    }

    /** Tells whether half of a signature is in 1..n-1; some JDKs took 0 for a signature of everything. */
    private static boolean inRange(byte[] signature, int from) {
        var half = new BigInteger(1, Arrays.copyOfRange(signature, from, from + OCTETS));
        return half.signum() > 0 && half.compareTo(P256.getOrder()) < 0;
    }

    /**
     * Returns the octets behind base64url without padding (RFC 7515 2).
     *
     * @throws IllegalArgumentException it is not that, or not its only form
     */
    static byte[] octets(Object text) {
        if (text instanceof String encoded && encoded.indexOf('=') < 0) {
            byte[] octets = Base64.getUrlDecoder().decode(encoded);
            if (Base64.getUrlEncoder().withoutPadding().encodeToString(octets).equals(encoded)) {
                return octets;
            }
        }
        throw new IllegalArgumentException("not base64url");
    }
}
