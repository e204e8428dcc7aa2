package io.extauthz.declare;

import io.extauthz.client.ApiException;
import io.extauthz.client.ExtauthzClient;
import io.extauthz.client.ExtauthzException;
import io.extauthz.client.ResourceSpec;
import io.extauthz.client.UnreachableException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * Registers what an application declares, in a daemon thread: a failure is warned of and tried ever more
 * rarely, at last once a minute, while the application serves.
 *
 * <p>Where the registration is required, {@link #start} ends only with it, and fails at the first refusal.
 */
public final class Registrar implements AutoCloseable {

    private static final Logger LOG = System.getLogger("io.extauthz.declare");
    private static final Duration FIRST_PAUSE = Duration.ofSeconds(1);
    private static final Duration LONGEST_PAUSE = Duration.ofSeconds(60);
    private static final Duration LONGEST_CLOSE = Duration.ofSeconds(2);

    private final ExtauthzClient client;
    private final Supplier<Declared> declared;
    private final Duration required;
    private final Duration firstPause;
    private final Consumer<RegistrationState> listener;
    private final CompletableFuture<Void> registered = new CompletableFuture<>();
    private volatile RegistrationState state = new RegistrationState.Pending();
    private Thread thread;

    private Registrar(Builder builder) {
        this.client = builder.client;
        this.declared = builder.declared;
        this.required = builder.required;
        this.firstPause = builder.firstPause;
        this.listener = builder.listener;
    }

    /**
     * Begins a registrar.
     *
     * @param client the client; it stays the caller's to close
     * @param declared what is declared, asked for once, in the registrar's thread; its problems are warned of
     * @return its builder
     */
    public static Builder builder(ExtauthzClient client, Supplier<Declared> declared) {
        return new Builder(client, declared);
    }

    /**
     * Starts to register. A second call does nothing.
     *
     * @throws RegistrationException the registration is required, and was refused, or did not succeed in time
     */
    public void start() {
        synchronized (this) {
            if (thread != null) {
                return;
            }
            thread = new Thread(this::registerUntilDone, "extauthz-registrar");
            thread.setDaemon(true);
            thread.start();
        }
        if (required != null) {
            await();
        }
    }

    /**
     * Returns how far the registration is.
     *
     * @return the state
     */
    public RegistrationState state() {
        return state;
    }

    /** Ends the registrar; what is being sent is not waited for longer than two seconds. */
    @Override
    public void close() {
        Thread running;
        synchronized (this) {
            running = thread;
        }
        if (running == null || running == Thread.currentThread()) {
            return;
        }
        running.interrupt();
        try {
            running.join(LONGEST_CLOSE.toMillis());
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    private void await() {
        try {
            registered.get(required.toMillis(), TimeUnit.MILLISECONDS);
        } catch (ExecutionException error) {
            close();
            throw new RegistrationException(error.getCause().getMessage(), error.getCause().getCause());
        } catch (TimeoutException error) {
            close();
            throw new RegistrationException(
                    state instanceof RegistrationState.Failing failing
                            ? failing.message()
                            : "extauthz did not answer the registration within " + shown(required),
                    error);
        } catch (InterruptedException error) {
            close();
            Thread.currentThread().interrupt();
            throw new RegistrationException("the start was interrupted before the registration ended", error);
        }
    }

    private void registerUntilDone() {
        Duration pause = firstPause;
        Declared found = null;
        for (int attempt = 1; !Thread.currentThread().isInterrupted(); attempt++) {
            Duration asked = Duration.ZERO;
            try {
                if (found == null) {
                    found = declared.get();
                    found.problems().forEach(each -> LOG.log(Level.WARNING, "{0}", each.message()));
                }
                register(found);
                return;
            } catch (ApiException error) {
                asked = Duration.ofMillis((long) (1000 * Math.min(error.retryAfterSeconds().orElse(0), 3600)));
                failed(RegistrationProblem.of(error, found), error, attempt, isForNow(error.status()));
            } catch (ExtauthzException error) {
                failed(RegistrationProblem.of(error), error, attempt, error instanceof UnreachableException);
            } catch (RuntimeException error) {
                // INVARIANT: registering does not end the application.
                failed("the registration at extauthz failed: " + error, error, attempt, false);
            }
            try {
                Thread.sleep(Math.max(asked.toMillis(), jittered(pause)));
            } catch (InterruptedException error) {
                return;
            }
            pause = pause.multipliedBy(2).compareTo(LONGEST_PAUSE) < 0 ? pause.multipliedBy(2) : LONGEST_PAUSE;
        }
    }

    private void register(Declared found) {
        OptionalLong revision = OptionalLong.empty();
        if (!found.resources().isEmpty()) {
            client.register(found.resources());
            revision = client.policyRevision();
        }
        List<String> names = found.resources().stream().map(ResourceSpec::name).toList();
        changed(new RegistrationState.Registered(names, revision));
        registered.complete(null);
        LOG.log(Level.INFO, "registered at extauthz: {0}", names.isEmpty() ? "nothing" : String.join(", ", names));
    }

    private void failed(String message, RuntimeException error, int attempt, boolean isForNow) {
        if (Thread.currentThread().isInterrupted()) {
            return;
        }
        changed(new RegistrationState.Failing(message, attempt));
        if (required == null) {
            LOG.log(Level.WARNING, "{0}; it is tried again", message);
        }
        if (!isForNow) {
            registered.completeExceptionally(new RegistrationException(message, error));
        }
    }

    private void changed(RegistrationState next) {
        state = next;
        try {
            listener.accept(next);
        } catch (RuntimeException error) {
            // INVARIANT: what a listener does has no effect on the registration.
            LOG.log(Level.WARNING, "a listener of the registration failed", error);
        }
    }

    /** Tells whether a later attempt can succeed without a change at either side. */
    private static boolean isForNow(int status) {
        return status == 429 || status >= 500;
    }

    private static long jittered(Duration pause) {
        return (long) (pause.toMillis() * (0.5 + ThreadLocalRandom.current().nextDouble() / 2));
    }

    private static String shown(Duration time) {
        return time.toMillis() % 1000 == 0 ? time.toSeconds() + " s" : time.toMillis() + " ms";
    }

    /** Collects the options of a registrar. */
    public static final class Builder {

        private final ExtauthzClient client;
        private final Supplier<Declared> declared;
        private Duration required;
        private Duration firstPause = FIRST_PAUSE;
        private Consumer<RegistrationState> listener = state -> { };

        private Builder(ExtauthzClient client, Supplier<Declared> declared) {
            this.client = Objects.requireNonNull(client, "client");
            this.declared = Objects.requireNonNull(declared, "declared");
        }

        /**
         * Has {@link Registrar#start} end only with the registration.
         *
         * @param longest how long it may take while extauthz is away; null to register in the background
         * @return this builder
         */
        public Builder required(Duration longest) {
            this.required = longest;
            return this;
        }

        /**
         * Sets the pause after the first failure; it doubles with each failure, up to a minute.
         *
         * @param firstPause the pause
         * @return this builder
         */
        public Builder firstPause(Duration firstPause) {
            this.firstPause = Objects.requireNonNull(firstPause, "firstPause");
            return this;
        }

        /**
         * Sets what hears of each attempt that has ended, in the registrar's thread.
         *
         * @param listener gets the new state
         * @return this builder
         */
        public Builder listener(Consumer<RegistrationState> listener) {
            this.listener = Objects.requireNonNull(listener, "listener");
            return this;
        }

        /**
         * Returns the registrar, not started.
         *
         * @return the registrar
         */
        public Registrar build() {
            return new Registrar(this);
        }
    }
}
