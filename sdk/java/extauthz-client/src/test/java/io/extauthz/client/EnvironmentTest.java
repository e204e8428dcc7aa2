package io.extauthz.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPairGenerator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class EnvironmentTest {

    private static final Map<String, String> SECRET =
            Map.of("AUTH_SERVER_URL", "https://idp", "ADMIN_CLIENT_ID", "a", "ADMIN_CLIENT_SECRET", "hidden-secret");

    private static Map<String, String> secretAnd(String... pairs) {
        var environment = new HashMap<>(SECRET);
        for (int index = 0; index < pairs.length; index += 2) {
            environment.put(pairs[index], pairs[index + 1]);
        }
        return environment;
    }

    @Test
    void aServiceKeyGoesBeforeAClient() {
        var environment = new HashMap<>(secretAnd("ADMIN_CLIENT_SECRET_FILE", "/nowhere"));
        environment.put("EXTAUTHZ_SERVICE_API_KEY", "sak_live_x");
        assertInstanceOf(ServiceKey.class, Credentials.fromEnvironment(environment));
    }

    static Stream<Arguments> unusable() {
        String key = "EXTAUTHZ_SERVICE_API_KEY";
        return Stream.of(
                Arguments.of(Map.of(), "AUTH_SERVER_URL, ADMIN_CLIENT_ID, ADMIN_CLIENT_SECRET not set"),
                Arguments.of(Map.of(key, "", "ADMIN_CLIENT_ID", "a"), "AUTH_SERVER_URL, ADMIN_CLIENT_SECRET not set"),
                Arguments.of(
                        Map.of("ADMIN_CLIENT_AUTH_METHOD", "private_key_jwt"),
                        "AUTH_SERVER_URL, ADMIN_CLIENT_ID, ADMIN_CLIENT_KEY_FILE not set"),
                Arguments.of(Map.of(key, "k\n"), "line end"),
                Arguments.of(Map.of(key, "k", key + "_FILE", "f"), "both set"),
                Arguments.of(Map.of(key + "_FILE", "/nowhere/key"), "'/nowhere/key' cannot be read"),
                Arguments.of(
                        Map.of("ADMIN_CLIENT_SECRET_FILE", "/nowhere/s"), "ADMIN_CLIENT_SECRET_FILE: '/nowhere/s'"),
                Arguments.of(secretAnd("ADMIN_CLIENT_KEY_FILE", "f"), "ADMIN_CLIENT_SECRET and ADMIN_CLIENT_KEY_FILE"),
                Arguments.of(secretAnd("ADMIN_CLIENT_KEY_ID", "k"), "ADMIN_CLIENT_KEY_ID is set without"),
                Arguments.of(
                        secretAnd("ADMIN_CLIENT_AUTH_METHOD", "private_key_jwt"), "does not fit ADMIN_CLIENT_SECRET"),
                Arguments.of(secretAnd("ADMIN_CLIENT_AUTH_METHOD", "basic"), "ADMIN_CLIENT_AUTH_METHOD is one of"),
                Arguments.of(secretAnd("ADMIN_CLIENT_RESOURCE", "https://a relative"), "ADMIN_CLIENT_RESOURCE"),
                Arguments.of(secretAnd("AUTH_SERVER_URL", "idp"), "AUTH_SERVER_URL"),
                Arguments.of(
                        Map.of(
                                "AUTH_SERVER_URL",
                                "https://i",
                                "ADMIN_CLIENT_ID",
                                "a",
                                "ADMIN_CLIENT_KEY_FILE",
                                "/nowhere/k"),
                        "ADMIN_CLIENT_KEY_FILE: the key file '/nowhere/k' cannot be read"));
    }

    @ParameterizedTest
    @MethodSource("unusable")
    void anEnvironmentWithoutUsableCredentialIsRefused(Map<String, String> environment, String problem) {
        var error = assertThrows(ExtauthzException.class, () -> Credentials.fromEnvironment(environment));
        assertTrue(error.getMessage().contains(problem), error.getMessage());
        assertTrue(!error.getMessage().contains("hidden"), error.getMessage());
    }

    @Test
    void anEnvironmentNamesOneCaller(@TempDir Path folder) throws Exception {
        Path file = Files.writeString(folder.resolve("secret"), "hidden\r\n");
        Map<String, String> key = Map.of("EXTAUTHZ_SERVICE_API_KEY_FILE", file.toString());
        assertEquals(
                "hidden",
                assertInstanceOf(ServiceKey.class, Credentials.fromEnvironment(key))
                        .key());

        var basic = assertInstanceOf(ClientCredentials.class, Credentials.fromEnvironment(SECRET));
        assertEquals(ClientAuthentication.CLIENT_SECRET_BASIC, basic.method());
        assertEquals("hidden-secret", basic.secret());

        var post = assertInstanceOf(
                ClientCredentials.class,
                Credentials.fromEnvironment(Map.of(
                        "AUTH_SERVER_URL", "https://i",
                        "ADMIN_CLIENT_ID", "a",
                        "ADMIN_CLIENT_SECRET_FILE", file.toString(),
                        "ADMIN_CLIENT_AUTH_METHOD", "client_secret_post",
                        "ADMIN_CLIENT_SCOPE", "one two",
                        "ADMIN_CLIENT_AUDIENCE", "api",
                        "ADMIN_CLIENT_RESOURCE", " https://a  urn:b ")));
        assertEquals(ClientAuthentication.CLIENT_SECRET_POST, post.method());
        assertEquals("hidden", post.secret());
        assertEquals("one two", post.scope());
        assertEquals("api", post.audience());
        assertEquals(List.of("https://a", "urn:b"), post.resources());

        Path pem =
                Keys.pem(folder.resolve("key.pem"), Keys.Kind.P256.generated().getPrivate());
        var signing = assertInstanceOf(
                ClientCredentials.class,
                Credentials.fromEnvironment(Map.of(
                        "AUTH_SERVER_URL", "https://i",
                        "ADMIN_CLIENT_ID", "a",
                        "ADMIN_CLIENT_KEY_FILE", pem.toString(),
                        "ADMIN_CLIENT_KEY_ID", "k1")));
        assertEquals(ClientAuthentication.PRIVATE_KEY_JWT, signing.method());
        assertEquals("k1", signing.keyId());
    }

    @Test
    void anUnusableKeyIsRefusedWithoutBeingQuoted(@TempDir Path folder) throws Exception {
        String pem = Files.readString(
                Keys.pem(folder.resolve("short.pem"), Keys.rsa(1024).getPrivate()));
        String middle = pem.lines().skip(3).findFirst().orElseThrow();
        var texts = Map.of(
                "short.pem", pem,
                "other.pem",
                        Files.readString(Keys.pem(
                                folder.resolve("other.pem"),
                                KeyPairGenerator.getInstance("X25519")
                                        .generateKeyPair()
                                        .getPrivate())),
                "pkcs1.pem", pem.replace("PRIVATE", "RSA PRIVATE"),
                "locked.pem", pem.replace("PRIVATE", "ENCRYPTED PRIVATE"),
                "cut.pem", pem.replace(middle + "\n", ""),
                "empty.pem", "",
                "noise.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        for (var each : texts.entrySet()) {
            Path file = Files.writeString(folder.resolve(each.getKey()), each.getValue());
            var builder = ClientCredentials.builder("https://i", "a").keyFile(file);
            var error = assertThrows(IllegalArgumentException.class, builder::build, each.getKey());
            assertTrue(error.getMessage().contains(each.getKey()), error.getMessage());
            assertTrue(!error.getMessage().contains(middle), error.getMessage());
        }
        Path binary = Files.write(folder.resolve("binary.pem"), new byte[] {(byte) 0xff, 0});
        assertThrows(
                IllegalArgumentException.class,
                () -> ClientCredentials.builder("https://i", "a")
                        .keyFile(binary)
                        .build());
    }

    @Test
    void aClientIsMadeFromAnEnvironment(@TempDir Path folder) throws Exception {
        var missing = assertThrows(ExtauthzException.class, () -> ExtauthzClient.fromEnvironment(SECRET));
        assertTrue(missing.getMessage().contains("EXTAUTHZ_URL is not set"));
        var wrong = assertThrows(
                ExtauthzException.class, () -> ExtauthzClient.fromEnvironment(secretAnd("EXTAUTHZ_URL", "ftp://x")));
        assertTrue(wrong.getMessage().startsWith("EXTAUTHZ_URL: "), wrong.getMessage());

        Path empty = Files.createFile(folder.resolve("ca.pem"));
        var trusting = secretAnd("EXTAUTHZ_URL", "https://api", "EXTAUTHZ_CA_FILE", empty.toString());
        var error = assertThrows(ExtauthzException.class, () -> ExtauthzClient.fromEnvironment(trusting));
        assertTrue(error.getMessage().startsWith("EXTAUTHZ_CA_FILE: the CA file"), error.getMessage());
        ExtauthzClient.fromEnvironment(secretAnd("EXTAUTHZ_URL", "https://api"))
                .build()
                .close();
    }
}
