package io.extauthz.declare;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SecretCheckTest {

    private static final String SECRET = "s3cr3t-value";

    @ParameterizedTest
    @ValueSource(strings = {
        "EXTAUTHZ_SERVICE_API_KEY", "extauthz.service-api-key", "extauthz.serviceApiKey", "extauthz.service_key",
        "ADMIN_CLIENT_SECRET", "admin.client-secret", "extauthz.client-secret", "extauthz.client.secret",
        "extauthz.credentials.client-secret", "%prod.extauthz.service-api-key",
    })
    void secretIsRefusedInEachSpelling(String property) {
        if (property.startsWith("%")) {
            property = property.substring(property.indexOf('.') + 1);
        }
        String message = SecretCheck.refusal(property, SECRET, "application.yaml").orElseThrow();
        assertTrue(message.contains("'" + property + "' in application.yaml"), message);
        assertTrue(message.contains("environment variable"), message);
        assertFalse(message.contains(SECRET), message);
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "extauthz.url", "extauthz.service-name", "ADMIN_CLIENT_ID", "spring.datasource.password", "admin.client.secret.file",
        "EXTAUTHZ_SERVICE_API_KEY_FILE", "payment.service.api-key",
    })
    void otherPropertiesAreTaken(String property) {
        assertEquals(Optional.empty(), SecretCheck.refusal(property, SECRET, "application.yaml"));
    }

    @Test
    void serviceKeyIsRefusedUnderWhateverName() {
        String key = "sak_live_0123456789abcdef";
        String message = SecretCheck.refusal("my.key", "Bearer " + key, "application.properties").orElseThrow();
        assertTrue(message.contains("EXTAUTHZ_SERVICE_API_KEY"), message);
        assertFalse(message.contains(key), message);
    }

    @Test
    void privateKeyIsRefused() {
        String pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----";
        assertTrue(SecretCheck.refusal("extauthz.client-key", pem, "f").orElseThrow().contains("ADMIN_CLIENT_KEY_FILE"));
        assertEquals(Optional.empty(), SecretCheck.refusal("server.ssl.key", pem, "f"));
    }

    @Test
    void referenceIsNoSecretAndADefaultIs() {
        assertEquals(Optional.empty(), SecretCheck.refusal("extauthz.service-api-key", "${SAK}", "f"));
        assertEquals(Optional.of("SAK"), SecretCheck.reference("${SAK}"));
        assertTrue(SecretCheck.refusal("extauthz.service-api-key", "${SAK:changeme}", "f").isPresent());
        assertTrue(SecretCheck.refusal("extauthz.service-api-key", "x${SAK}", "f").isPresent());
        assertEquals(Optional.empty(), SecretCheck.refusal("extauthz.service-api-key", " ", "f"));
    }

    @Test
    void messageOfAReferenceNamesTheVariableOfTheSecret() {
        assertTrue(SecretCheck.message("my.key", "f", "extauthz.client-secret").contains("ADMIN_CLIENT_SECRET"));
        assertTrue(SecretCheck.isSecret("extauthz.client-secret"));
        assertFalse(SecretCheck.isSecret("my.key"));
    }
}
