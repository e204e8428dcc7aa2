package io.extauthz.spring;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.springframework.boot.diagnostics.FailureAnalysis;
import org.springframework.context.annotation.PropertySource;

@Timeout(120)
@SuppressWarnings("try")
class SecretsTest {

    @TempDir
    Path folder;

    private final ScriptedExtauthz extauthz = new ScriptedExtauthz();

    @AfterEach
    void stop() {
        extauthz.close();
    }

    @PropertySource("classpath:leaks/secret.properties")
    static class Source { }

    private String refusal(Class<?> controller, String... settings) {
        Throwable error = assertThrows(Exception.class,
                () -> Applications.start(Map.of("EXTAUTHZ_URL", extauthz.url()), List.of(controller), settings));
        FailureAnalysis analysis = new ExtauthzFailureAnalyzer().analyze(error);
        assertTrue(extauthz.registrations.isEmpty());
        assertFalse(analysis.getDescription().contains("value-of-a-file"), analysis.getDescription());
        assertFalse(analysis.getDescription().contains("sak_"), analysis.getDescription());
        assertTrue(analysis.getAction().contains("environment"), analysis.getAction());
        return analysis.getDescription();
    }

    @ParameterizedTest
    @CsvSource({
        "classpath:leaks/key.yaml, extauthz.service-api-key, key.yaml, EXTAUTHZ_SERVICE_API_KEY",
        "classpath:leaks/secret.properties, ADMIN_CLIENT_SECRET, secret.properties, ADMIN_CLIENT_SECRET",
        "classpath:leaks/default.yaml, extauthz.service-api-key, default.yaml, EXTAUTHZ_SERVICE_API_KEY",
        "classpath:leaks/chain.properties, billing.inner, chain.properties, EXTAUTHZ_SERVICE_API_KEY",
        "classpath:leaks/importing.properties, extauthz.client-secret, imported.properties, ADMIN_CLIENT_SECRET",
        "classpath:leaks/other.properties, my.key, other.properties, EXTAUTHZ_SERVICE_API_KEY",
    })
    void secretInAFileOfTheArchiveIsRefused(String location, String property, String file, String variable) {
        String description = refusal(Controllers.Inherits.class, "spring.config.location=" + location);
        for (String part : List.of("'" + property + "'", file, "environment variable " + variable)) {
            assertTrue(description.contains(part), part + " in " + description);
        }
        assertEquals(1, description.lines().count(), description);
    }

    @Test
    void secretOfAnActiveProfileIsRefused() {
        String description = refusal(
                Controllers.Inherits.class, "spring.config.location=classpath:leaks/profile.yaml", "spring.profiles.active=leaky");
        assertTrue(description.contains("extauthz.client-secret"), description);
    }

    @Test
    void secretOfAnInactiveProfileIsRefused() {
        String description = refusal(Controllers.Inherits.class, "spring.config.name=inactive");
        assertTrue(description.contains("inactive-production.yaml"), description);
    }

    @Test
    void secretOfAPropertySourceInTheArchiveIsRefused() {
        assertTrue(refusal(Source.class).contains("leaks/secret.properties"));
    }

    @Test
    void secretInAnApplicationFileOutsideTheArchiveIsRefused() throws IOException {
        Files.writeString(folder.resolve("application.properties"), "extauthz.service-api-key=value-of-a-file\n");
        String description = refusal(
                Controllers.Inherits.class, "spring.config.additional-location=file:" + folder + "/");
        assertTrue(description.contains("application.properties"), description);
    }

    @Test
    void secretOfTheEnvironmentIsTakenAlsoThroughAReference() throws InterruptedException {
        var variables = new HashMap<String, Object>(
                Map.of("EXTAUTHZ_URL", extauthz.url(), "BILLING_KEY", Applications.KEY));
        try (var application = Applications.start(
                variables, List.of(Controllers.Inherits.class), "spring.config.location=classpath:leaks/reference.properties")) {
            assertEquals(Applications.KEY, extauthz.registrations.take().key());
        }
    }

    @Test
    void secretOfAMountedFileIsTaken() throws IOException, InterruptedException {
        Files.writeString(folder.resolve("EXTAUTHZ_SERVICE_API_KEY"), Applications.KEY);
        try (var application = Applications.start(
                Map.of("EXTAUTHZ_URL", extauthz.url()), List.of(Controllers.Inherits.class),
                "spring.config.import=configtree:" + folder + "/")) {
            assertEquals(Applications.KEY, extauthz.registrations.take().key());
        }
    }

    @Test
    void secretOfAFileThatAVariableNamesIsTaken() throws IOException, InterruptedException {
        Path file = Files.writeString(folder.resolve("key"), Applications.KEY + "\n");
        try (var application = Applications.start(
                Map.of("EXTAUTHZ_URL", extauthz.url(), "EXTAUTHZ_SERVICE_API_KEY_FILE", file.toString()),
                List.of(Controllers.Inherits.class))) {
            assertEquals(Applications.KEY, extauthz.registrations.take().key());
        }
    }
}
