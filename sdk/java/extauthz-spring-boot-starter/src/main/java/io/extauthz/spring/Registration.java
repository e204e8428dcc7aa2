package io.extauthz.spring;

import io.extauthz.client.ExtauthzClient;
import io.extauthz.client.ExtauthzException;
import io.extauthz.declare.Declared;
import io.extauthz.declare.DeclarationProblem;
import io.extauthz.declare.Registrar;
import io.extauthz.declare.RegistrationException;
import io.extauthz.declare.RegistrationState;
import java.util.List;
import java.util.OptionalLong;
import java.util.function.Supplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.beans.factory.BeanCreationException;
import org.springframework.context.SmartLifecycle;

/**
 * Registers what the application declares when it starts, before it takes requests, and stops with it.
 *
 * <p>Unless {@code extauthz.registration.required} is set, the application starts whatever becomes of it.
 */
public final class Registration implements SmartLifecycle {

    private static final Logger LOG = LoggerFactory.getLogger("io.extauthz.spring");
    // The server starts in the phase DEFAULT_PHASE - 2048.
    private static final int BEFORE_SERVER = SmartLifecycle.DEFAULT_PHASE - 4096;

    private final ExtauthzProperties properties;
    private final Supplier<Declared> endpoints;
    private final Supplier<ExtauthzClient> client;
    private volatile RegistrationState state = new RegistrationState.Pending();
    private volatile Declared declared;
    private volatile Registrar registrar;
    private volatile boolean running;

    Registration(ExtauthzProperties properties, Supplier<Declared> endpoints, Supplier<ExtauthzClient> client) {
        this.properties = properties;
        this.endpoints = endpoints;
        this.client = client;
    }

    @Override
    public void start() {
        Declared found = endpoints.get();
        declared = found;
        if (!found.problems().isEmpty() && properties.problems() == ProblemHandling.FAIL) {
            throw new ExtauthzConfigurationException(
                    found.problemText(),
                    "Change the declarations, or set extauthz.problems=warn to start without these routes.");
        }
        running = true;
        if (!properties.registration().enabled()) {
            found.problems().forEach(each -> LOG.warn("{}", each.message()));
        } else if (found.resources().isEmpty()) {
            found.problems().forEach(each -> LOG.warn("{}", each.message()));
            LOG.info("no endpoint of the application has a @Resource that can be registered");
            state = new RegistrationState.Registered(List.of(), OptionalLong.empty());
        } else {
            register(found);
        }
    }

    private void register(Declared found) {
        boolean required = properties.registration().required();
        ExtauthzClient caller;
        try {
            caller = client.get();
        } catch (ExtauthzException | BeanCreationException error) {
            String message = cause(error).getMessage();
            if (required) {
                throw new RegistrationException(message, error);
            }
            LOG.warn("{} resources are not registered: {}", found.resources().size(), message);
            state = new RegistrationState.Failing(message, 1);
            return;
        }
        registrar = Registrar.builder(caller, () -> found)
                .required(required ? properties.registration().timeout() : null)
                .listener(next -> state = next)
                .build();
        registrar.start();
    }

    private static Throwable cause(Throwable error) {
        Throwable cause = error;
        while (!(cause instanceof ExtauthzException) && cause.getCause() != null) {
            cause = cause.getCause();
        }
        return cause;
    }

    @Override
    public void stop() {
        Registrar started = registrar;
        if (started != null) {
            started.close();
        }
        running = false;
    }

    @Override
    public boolean isRunning() {
        return running;
    }

    /**
     * Returns the phase: before the server takes requests.
     *
     * @return a phase before that of the server
     */
    @Override
    public int getPhase() {
        return BEFORE_SERVER;
    }

    /**
     * Returns how far the registration is.
     *
     * @return the state
     */
    public RegistrationState state() {
        return state;
    }

    /**
     * Returns what cannot be registered as it is declared.
     *
     * @return the problems; an empty list before the start
     */
    public List<DeclarationProblem> problems() {
        Declared found = declared;
        return found == null ? List.of() : found.problems();
    }
}
