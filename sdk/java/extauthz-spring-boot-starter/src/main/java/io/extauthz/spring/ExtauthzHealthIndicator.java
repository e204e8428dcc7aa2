package io.extauthz.spring;

import io.extauthz.declare.DeclarationProblem;
import io.extauthz.declare.RegistrationState;
import java.util.List;
import org.springframework.boot.health.contributor.AbstractHealthIndicator;
import org.springframework.boot.health.contributor.Health;

/** UP with the resources registered, UNKNOWN before the first attempt ended, DOWN while it fails. */
final class ExtauthzHealthIndicator extends AbstractHealthIndicator {

    private final Registration registration;

    ExtauthzHealthIndicator(Registration registration) {
        super("the state of the registration cannot be read");
        this.registration = registration;
    }

    @Override
    protected void doHealthCheck(Health.Builder builder) {
        RegistrationState state = registration.state();
        if (state instanceof RegistrationState.Registered registered) {
            builder.up().withDetail("resources", registered.resources());
            registered.revision().ifPresent(revision -> builder.withDetail("revision", revision));
        } else if (state instanceof RegistrationState.Failing failing) {
            builder.down().withDetail("problem", failing.message()).withDetail("attempts", failing.attempts());
        } else {
            builder.unknown();
        }
        List<String> problems = registration.problems().stream().map(DeclarationProblem::message).toList();
        if (!problems.isEmpty()) {
            builder.withDetail("declarations", problems);
        }
    }
}
