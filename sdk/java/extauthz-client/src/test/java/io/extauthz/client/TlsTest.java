package io.extauthz.client;

import static io.extauthz.client.ScriptedServer.says;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.InputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class TlsTest {

    private static final ScriptedServer.Script EMPTY = says(200, "{\"items\": [], \"next_cursor\": null}");
    private static final char[] PASSWORD = "of-the-test".toCharArray();

    @TempDir
    static Path folder;

    private static SSLContext served;
    private static SSLContext otherName;
    private static Path authorities;

    @BeforeAll
    static void generate() throws Exception {
        Path store = generated("served", "dns:localhost");
        served = settings(store);
        otherName = settings(generated("other", "dns:other.example.com"));
        authorities = folder.resolve("ca.pem");
        var text = new StringBuilder();
        for (String name : List.of("served", "other")) {
            byte[] certificate =
                    loaded(folder.resolve(name + ".p12")).getCertificate(name).getEncoded();
            text.append("-----BEGIN CERTIFICATE-----\n")
                    .append(Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(certificate))
                    .append("\n-----END CERTIFICATE-----\n");
        }
        Files.writeString(authorities, text);
    }

    private static Path generated(String alias, String name) throws Exception {
        Path store = folder.resolve(alias + ".p12");
        keytool(
                "-genkeypair",
                "-alias",
                alias,
                "-keyalg",
                "EC",
                "-groupname",
                "secp256r1",
                "-dname",
                "CN=" + alias,
                "-ext",
                "san=" + name,
                "-ext",
                "bc:c",
                "-validity",
                "2",
                "-storetype",
                "PKCS12",
                "-keystore",
                store.toString(),
                "-storepass",
                new String(PASSWORD));
        return store;
    }

    private static void keytool(String... arguments) throws Exception {
        var command = new java.util.ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "keytool").toString()));
        command.addAll(List.of(arguments));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes());
        assertTrue(process.waitFor(30, TimeUnit.SECONDS) && process.exitValue() == 0, said);
    }

    private static KeyStore loaded(Path store) throws Exception {
        KeyStore keys = KeyStore.getInstance("PKCS12");
        try (InputStream stream = Files.newInputStream(store)) {
            keys.load(stream, PASSWORD);
        }
        return keys;
    }

    private static SSLContext settings(Path store) throws Exception {
        KeyManagerFactory factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        KeyStore keys = loaded(store);
        factory.init(keys, PASSWORD);
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(keys);
        SSLContext settings = SSLContext.getInstance("TLS");
        settings.init(factory.getKeyManagers(), trust.getTrustManagers(), null);
        return settings;
    }

    private static ExtauthzClient.Builder client(ScriptedServer server) {
        return ExtauthzClient.builder(server.url(), new ServiceKey("k")).attempts(1);
    }

    @Test
    void aServerIsTrustedByTheFileOfAuthorities() throws Exception {
        try (var server = ScriptedServer.tls(served, EMPTY)) {
            try (var client = client(server).build()) {
                var error = assertThrows(UnreachableException.class, client::roleRules);
                assertTrue(error.getMessage().contains("GET https://localhost"), error.getMessage());
            }
            assertEquals(List.of(), server.requests());
            try (var client = client(server).caCertificates(authorities).build()) {
                assertEquals(List.of(), client.roleRules());
            }
            try (var client = client(server).sslContext(served).build()) {
                assertEquals(List.of(), client.roleRules());
            }
        }
    }

    @Test
    void theNameOfTheServerHasToBeRight() throws Exception {
        try (var server = ScriptedServer.tls(otherName, EMPTY);
                var client = client(server).caCertificates(authorities).build()) {
            assertThrows(UnreachableException.class, client::roleRules);
            assertEquals(List.of(), server.requests());
        }
    }

    @Test
    void theAuthoritiesAreForTheProviderAndForTheKeysOfAssertionsToo() throws Exception {
        try (var provider = ScriptedServer.tls(served, (server, exchange) -> {
                    boolean token = exchange.getRequestURI().getPath().equals("/token");
                    says(
                                    200,
                                    token
                                            ? "{\"access_token\": \"abc\", \"token_type\": \"Bearer\"}"
                                            : "{\"issuer\": \"" + server.url() + "\", \"token_endpoint\": \""
                                                    + server.url() + "/token\"}")
                            .answer(server, exchange);
                });
                var api = ScriptedServer.tls(served, EMPTY)) {
            var credentials = ClientCredentials.builder(provider.url().toString(), "a")
                    .secret("b")
                    .build();
            var builder = ExtauthzClient.builder(api.url(), credentials).attempts(1);
            try (var client = builder.build()) {
                assertThrows(UnreachableException.class, client::roleRules);
            }
            try (var client = builder.caCertificates(authorities).build()) {
                assertEquals(List.of(), client.roleRules());
            }
        }
        try (var keys = ScriptedServer.tls(served, says(200, "{\"keys\": []}"));
                var verifier = AssertionVerifier.builder(keys.url(), "i", "a")
                        .caCertificates(authorities)
                        .build()) {
            String token =
                    Keys.encoded("{\"typ\": \"assertion+jwt\", \"kid\": \"k\"}") + "." + Keys.encoded("{}") + ".";
            var error = assertThrows(AssertionRejectedException.class, () -> verifier.verify(token));
            assertTrue(error.getMessage().contains("no published key"), error.getMessage());
        }
    }

    @Test
    void aSecretIsNotSentUnprotected() throws Exception {
        try (var provider = ScriptedServer.tls(
                        served,
                        (server, exchange) -> says(
                                        200,
                                        "{\"issuer\": \"" + server.url()
                                                + "\", \"token_endpoint\": \"http://localhost:9/token\"}")
                                .answer(server, exchange));
                var client = ExtauthzClient.builder(
                                URI.create("http://localhost:9"),
                                ClientCredentials.builder(provider.url().toString(), "a")
                                        .secret("b")
                                        .build())
                        .caCertificates(authorities)
                        .build()) {
            var error = assertThrows(ExtauthzException.class, client::roleRules);
            assertTrue(error.getMessage().contains("unprotected"), error.getMessage());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"})
    void aFileWithoutCertificatesIsRefused(String text) throws Exception {
        Path file = Files.writeString(folder.resolve("bad.pem"), text);
        var builder = ExtauthzClient.builder(URI.create("https://api"), new ServiceKey("k"))
                .caCertificates(file);
        var error = assertThrows(IllegalArgumentException.class, builder::build);
        assertTrue(error.getMessage().contains("bad.pem"), error.getMessage());
    }

    @Test
    void aFileThatIsAwayAndTwoSettingsAreRefused() throws Exception {
        var builder = ExtauthzClient.builder(URI.create("https://api"), new ServiceKey("k"));
        assertThrows(IllegalArgumentException.class, builder.caCertificates(folder.resolve("away"))::build);
        assertThrows(
                IllegalArgumentException.class,
                builder.caCertificates(authorities).sslContext(served)::build);
    }
}
