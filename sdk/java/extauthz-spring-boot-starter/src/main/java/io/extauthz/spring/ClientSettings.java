package io.extauthz.spring;

import io.extauthz.client.ExtauthzClient;
import io.extauthz.client.ExtauthzException;
import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.core.env.Environment;

/** Makes the client from the settings and the environment. */
final class ClientSettings {

    private static final String URL = "EXTAUTHZ_URL";
    private static final String FIX = "Set EXTAUTHZ_URL and EXTAUTHZ_SERVICE_API_KEY (or AUTH_SERVER_URL, ADMIN_CLIENT_ID"
            + " and ADMIN_CLIENT_SECRET) in the environment of the application.";

    // Each variable with the property that stands for it, too.
    private static final Map<String, String> VARIABLES = variables();

    private ClientSettings() { }

    static ExtauthzClient client(ExtauthzProperties properties, Environment environment) {
        var values = new LinkedHashMap<String, String>();
        VARIABLES.forEach((variable, property) -> {
            String value = environment.getProperty(variable, environment.getProperty(property, ""));
            if (value.contains("${")) {
                throw new ExtauthzConfigurationException(
                        "'" + property + "' refers to a property that is not there.", FIX);
            }
            if (!value.isEmpty()) {
                values.put(variable, value);
            }
        });
        if (properties.url() == null) {
            throw new ExtauthzConfigurationException("extauthz.url (EXTAUTHZ_URL) is not set.", FIX);
        }
        values.put(URL, properties.url().toString());
        try {
            return ExtauthzClient.fromEnvironment(values)
                    .attempts(properties.attempts())
                    .timeout(properties.timeout())
                    .build();
        } catch (ExtauthzException | IllegalArgumentException error) {
            throw new ExtauthzConfigurationException("The client of extauthz cannot be made: " + error.getMessage(), FIX);
        }
    }

    private static Map<String, String> variables() {
        var variables = new LinkedHashMap<String, String>();
        variables.put("EXTAUTHZ_SERVICE_API_KEY", "extauthz.service-api-key");
        variables.put("EXTAUTHZ_SERVICE_API_KEY_FILE", "extauthz.service-api-key-file");
        variables.put("AUTH_SERVER_URL", "extauthz.auth-server-url");
        variables.put("EXTAUTHZ_CA_FILE", "extauthz.ca-file");
        for (String name : new String[] {
            "ID", "SECRET", "SECRET_FILE", "AUTH_METHOD", "KEY_FILE", "KEY_ID", "SCOPE", "AUDIENCE", "RESOURCE"
        }) {
            variables.put("ADMIN_CLIENT_" + name, "extauthz.client-" + name.toLowerCase(java.util.Locale.ROOT).replace('_', '-'));
        }
        return variables;
    }
}
