package io.extauthz.client;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.util.Base64;
import java.util.Map;

/** Keys of the tests, and what is signed with them. */
final class Keys {

    /** The kinds of keys, each with its algorithm of JOSE. */
    enum Kind {
        RSA("RS256", "SHA256withRSA"),
        P256("ES256", "SHA256withECDSAinP1363Format"),
        P384("ES384", "SHA384withECDSAinP1363Format"),
        P521("ES512", "SHA512withECDSAinP1363Format"),
        ED25519("EdDSA", "Ed25519");

        private final String algorithm;
        private final String signature;

        Kind(String algorithm, String signature) {
            this.algorithm = algorithm;
            this.signature = signature;
        }

        String algorithm() {
            return algorithm;
        }

        KeyPair generated() throws GeneralSecurityException {
            return switch (this) {
                case RSA -> rsa(2048);
                case P256 -> curve("secp256r1");
                case P384 -> curve("secp384r1");
                case P521 -> curve("secp521r1");
                case ED25519 -> KeyPairGenerator.getInstance("Ed25519").generateKeyPair();
            };
        }

        String signed(PrivateKey key, String header, String claims) throws GeneralSecurityException {
            String input = encoded(header) + "." + encoded(claims);
            Signature signing = Signature.getInstance(signature);
            signing.initSign(key);
            signing.update(input.getBytes(StandardCharsets.US_ASCII));
            return input + "." + encoded(signing.sign());
        }

        boolean verifies(PublicKey key, String token) throws GeneralSecurityException {
            int end = token.lastIndexOf('.');
            Signature verifying = Signature.getInstance(signature);
            verifying.initVerify(key);
            verifying.update(token.substring(0, end).getBytes(StandardCharsets.US_ASCII));
            return verifying.verify(Base64.getUrlDecoder().decode(token.substring(end + 1)));
        }
    }

    private Keys() {}

    static KeyPair rsa(int bits) throws GeneralSecurityException {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
        generator.initialize(bits);
        return generator.generateKeyPair();
    }

    static KeyPair curve(String name) throws GeneralSecurityException {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(new ECGenParameterSpec(name));
        return generator.generateKeyPair();
    }

    static Path pem(Path file, PrivateKey key) throws IOException {
        String body = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(key.getEncoded());
        return Files.writeString(file, "-----BEGIN PRIVATE KEY-----\n" + body + "\n-----END PRIVATE KEY-----\n");
    }

    static String encoded(String text) {
        return encoded(text.getBytes(StandardCharsets.UTF_8));
    }

    static String encoded(byte[] octets) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(octets);
    }

    /** Returns the header (0) or the payload (1) of a token. */
    static Map<?, ?> part(String token, int index) {
        return (Map<?, ?>) Json.read(Base64.getUrlDecoder().decode(token.split("\\.")[index]));
    }
}
