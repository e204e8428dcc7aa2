package io.extauthz.quarkus.runtime;

import io.extauthz.client.ExtauthzClient;
import io.extauthz.declare.Declared;
import io.extauthz.declare.Registrar;
import io.extauthz.declare.RegistrationState;
import io.quarkus.runtime.ShutdownEvent;
import io.quarkus.runtime.StartupEvent;
import io.quarkus.runtime.configuration.ConfigurationException;
import jakarta.enterprise.event.Observes;
import jakarta.enterprise.inject.Instance;
import jakarta.inject.Singleton;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.eclipse.microprofile.config.Config;
import org.jboss.logging.Logger;

/** Registers what the application declares when it starts, and ends that when it stops. */
@Singleton
public class Registration {

    private static final Logger LOG = Logger.getLogger("io.extauthz");

    private final ExtauthzConfig settings;
    private final DeclaredEndpoints endpoints;
    private final Instance<ExtauthzClient> client;
    private final Instance<Admission> admissions;
    private final Config config;
    private volatile RegistrationState state;
    private Registrar registrar;

    /**
     * Takes what it needs.
     *
     * @param settings the settings
     * @param endpoints what the build found
     * @param client the client, which is made only where something is registered
     * @param admissions decide about requests; made at start, so that wrong settings are found then
     * @param config every source of settings, in which secrets are looked for
     */
    public Registration(
            ExtauthzConfig settings,
            DeclaredEndpoints endpoints,
            Instance<ExtauthzClient> client,
            Instance<Admission> admissions,
            Config config) {
        this.settings = settings;
        this.endpoints = endpoints;
        this.client = client;
        this.admissions = admissions;
        this.config = config;
    }

    /**
     * Returns how far the registration is.
     *
     * @return the state; empty where nothing is registered
     */
    public Optional<RegistrationState> state() {
        return Optional.ofNullable(state);
    }

    void start(@Observes StartupEvent event) {
        Set<String> secrets = ConfigSecrets.refusals(config);
        if (!secrets.isEmpty()) {
            throw new ConfigurationException(String.join("\n", secrets));
        }
        admissions.get();
        if (!settings.registration().enabled() || !endpoints.any()) {
            return;
        }
        boolean required = settings.registration().required();
        ExtauthzClient caller;
        try {
            caller = client.get();
        } catch (ConfigurationException error) {
            if (required) {
                throw error;
            }
            LOG.warn("nothing is registered at extauthz: " + error.getMessage());
            state = new RegistrationState.Failing(error.getMessage(), 1);
            return;
        }
        state = new RegistrationState.Pending();
        registrar = Registrar.builder(caller, this::declared)
                .required(required ? settings.registration().timeout() : null)
                .listener(next -> state = next)
                .build();
        registrar.start();
    }

    private Declared declared() {
        Declared all = endpoints.declared(
                settings.serviceName(), settings.host().orElse(null), settings.prefix().orElse(""));
        // The build reported the problems.
        return new Declared(all.resources(), List.of(), all.endpoints());
    }

    void stop(@Observes ShutdownEvent event) {
        if (registrar != null) {
            registrar.close();
        }
    }
}
