package io.extauthz.quarkus.runtime;

import io.extauthz.declare.RegistrationState;
import io.smallrye.health.api.Wellness;
import jakarta.inject.Singleton;
import org.eclipse.microprofile.health.HealthCheck;
import org.eclipse.microprofile.health.HealthCheckResponse;
import org.eclipse.microprofile.health.HealthCheckResponseBuilder;

/**
 * Tells whether the resources are registered.
 *
 * <p>It is a wellness check: readiness and liveness do not depend on it, as the mesh goes on with the routes
 * that it knows while extauthz's API is away.
 */
@Wellness
@Singleton
public class RegistrationHealth implements HealthCheck {

    private final Registration registration;

    /**
     * Takes what it reports.
     *
     * @param registration the registration
     */
    public RegistrationHealth(Registration registration) {
        this.registration = registration;
    }

    @Override
    public HealthCheckResponse call() {
        HealthCheckResponseBuilder response = HealthCheckResponse.named("extauthz registration");
        RegistrationState state = registration.state().orElse(null);
        if (state == null) {
            return response.up().withData("state", "off").build();
        }
        if (state instanceof RegistrationState.Registered registered) {
            response.up().withData("state", "registered");
            registered.revision().ifPresent(revision -> response.withData("revision", revision));
            return response.build();
        }
        if (state instanceof RegistrationState.Failing failing) {
            return response.down()
                    .withData("state", "failing")
                    .withData("message", failing.message())
                    .withData("attempts", failing.attempts())
                    .build();
        }
        return response.down().withData("state", "pending").build();
    }
}
