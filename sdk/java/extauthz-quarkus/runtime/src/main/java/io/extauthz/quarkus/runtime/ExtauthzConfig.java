package io.extauthz.quarkus.runtime;

import io.quarkus.runtime.annotations.ConfigPhase;
import io.quarkus.runtime.annotations.ConfigRoot;
import io.smallrye.config.ConfigMapping;
import io.smallrye.config.WithDefault;
import io.smallrye.config.WithParentName;
import java.time.Duration;
import java.util.Optional;

/**
 * The settings of the extension. Credentials come from environment variables or a secret store.
 */
@ConfigMapping(prefix = "extauthz")
@ConfigRoot(phase = ConfigPhase.RUN_TIME)
public interface ExtauthzConfig {

    /**
     * The address of the admin REST API, without {@code /api/v1}.
     *
     * @return the address
     */
    Optional<String> url();

    /**
     * The credentials.
     *
     * @return the settings
     */
    @WithParentName
    CredentialsConfig credentials();

    /**
     * How long one attempt of a call to the API may take.
     *
     * @return the time
     */
    @WithDefault("10s")
    Duration timeout();

    /**
     * How often a call to the API is tried in all.
     *
     * @return the number
     */
    @WithDefault("4")
    int attempts();

    /**
     * The name of this service: the owner of its resources and the audience of its assertions.
     *
     * @return the name
     */
    @WithDefault("${quarkus.application.name}")
    String serviceName();

    /**
     * The host of every route, or {@code *.suffix}; not set, the routes are for every host.
     *
     * @return the host
     */
    Optional<String> host();

    /**
     * What the mesh sees before the application's paths, where a proxy removes it after the check.
     *
     * @return the prefix
     */
    Optional<String> prefix();

    /**
     * How the declared resources are registered.
     *
     * @return the settings
     */
    RegistrationConfig registration();

    /**
     * What happens with a call that did not come through the mesh.
     *
     * @return the reaction
     */
    @WithDefault("allow")
    DirectCalls directCalls();

    /**
     * Whether the {@code x-auth-*} headers say who the caller is: only where no request reaches the application
     * but through the mesh, which removes such headers of clients. With an assertion they are not read.
     *
     * @return whether
     */
    @WithDefault("false")
    boolean trustHeaders();

    /**
     * The signed assertion of extauthz.
     *
     * @return the settings
     */
    AssertionConfig assertion();

    /** What happens with a call that did not come through the mesh. */
    enum DirectCalls {
        /** It is served: the network sees to it that only the mesh reaches the application. */
        ALLOW,
        /** {@code POST /api/v1/check} decides about it, with the caller's token. */
        CHECK,
        /** It is answered 401. */
        REJECT
    }

    /** How the declared resources are registered. */
    interface RegistrationConfig {

        /**
         * Whether they are registered.
         *
         * @return whether
         */
        @WithDefault("true")
        boolean enabled();

        /**
         * Whether the application starts only once they are registered. Otherwise it starts, and the
         * registration is tried again, at last once a minute.
         *
         * @return whether
         */
        @WithDefault("false")
        boolean required();

        /**
         * How long a required registration may take while extauthz is away.
         *
         * @return the time
         */
        @WithDefault("30s")
        Duration timeout();
    }

    /** The signed assertion. With it, identity headers alone prove nothing. */
    interface AssertionConfig {

        /**
         * The issuer: {@code ASSERTION_ISSUER} of the sidecar. Assertions are not verified where it is not set.
         *
         * @return the issuer
         */
        Optional<String> issuer();

        /**
         * Where its public keys are; {@code /.well-known/jwks.json} of the API where it is not set.
         *
         * @return the address
         */
        Optional<String> keysUrl();

        /**
         * How far the clocks may differ.
         *
         * @return the time
         */
        @WithDefault("5s")
        Duration leeway();
    }
}
