package io.extauthz.quarkus.runtime;

import io.extauthz.client.ExtauthzClient;
import io.extauthz.client.ExtauthzException;
import io.quarkus.arc.DefaultBean;
import io.quarkus.runtime.configuration.ConfigurationException;
import jakarta.enterprise.inject.Disposes;
import jakarta.enterprise.inject.Produces;
import jakarta.inject.Singleton;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.eclipse.microprofile.config.Config;

/** Makes the client from the settings and from the environment. */
@Singleton
public class ExtauthzProducer {

    // Each variable with the property that stands for it, too.
    private static final Map<String, String> VARIABLES = variables();

    /** Makes a producer. */
    public ExtauthzProducer() { }

    /**
     * Makes the client.
     *
     * @param settings the settings
     * @param config the sources of the environment variables; `.env` and secret stores among them
     * @return the client
     */
    @Produces
    @Singleton
    @DefaultBean
    public ExtauthzClient client(ExtauthzConfig settings, Config config) {
        Map<String, String> environment = new HashMap<>();
        VARIABLES.forEach((variable, property) -> config.getOptionalValue(variable, String.class)
                .or(() -> config.getOptionalValue(property, String.class))
                .ifPresent(value -> environment.put(variable, value)));
        settings.url().ifPresent(url -> environment.put("EXTAUTHZ_URL", url));
        try {
            return ExtauthzClient.fromEnvironment(environment)
                    .timeout(settings.timeout())
                    .attempts(settings.attempts())
                    .build();
        } catch (ExtauthzException | IllegalArgumentException error) {
            throw new ConfigurationException("the client of extauthz cannot be made: " + error.getMessage(), error);
        }
    }

    void close(@Disposes ExtauthzClient client) {
        client.close();
    }

    private static Map<String, String> variables() {
        Map<String, String> variables = new HashMap<>();
        variables.put("EXTAUTHZ_SERVICE_API_KEY", "extauthz.service-api-key");
        variables.put("EXTAUTHZ_SERVICE_API_KEY_FILE", "extauthz.service-api-key-file");
        variables.put("AUTH_SERVER_URL", "extauthz.auth-server-url");
        variables.put("EXTAUTHZ_CA_FILE", "extauthz.ca-file");
        for (String name : List.of(
                "ID", "SECRET", "SECRET_FILE", "AUTH_METHOD", "KEY_FILE", "KEY_ID", "SCOPE", "AUDIENCE", "RESOURCE")) {
            variables.put("ADMIN_CLIENT_" + name,
                    "extauthz.client-" + name.toLowerCase(Locale.ROOT).replace('_', '-'));
        }
        return variables;
    }
}
